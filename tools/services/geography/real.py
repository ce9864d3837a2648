"""Real cities: name, country, country code, region, latitude, longitude, elevation in metres, population
(rounded), IANA time zone."""

CITIES = """
Berlin|Germany|DE|Berlin|52.524|13.411|74|3700000|Europe/Berlin
Hamburg|Germany|DE|Hamburg|53.551|9.993|8|1850000|Europe/Berlin
Munich|Germany|DE|Bavaria|48.137|11.575|524|1500000|Europe/Berlin
Frankfurt am Main|Germany|DE|Hesse|50.116|8.684|113|770000|Europe/Berlin
Frankfurt (Oder)|Germany|DE|Brandenburg|52.347|14.551|28|57000|Europe/Berlin
Halle|Germany|DE|Saxony-Anhalt|51.482|11.970|94|240000|Europe/Berlin
Halle|Belgium|BE|Flanders|50.734|4.237|34|41000|Europe/Brussels
Vienna|Austria|AT|Vienna|48.208|16.372|171|2000000|Europe/Vienna
Innsbruck|Austria|AT|Tyrol|47.263|11.395|574|130000|Europe/Vienna
Zurich|Switzerland|CH|Zurich|47.367|8.550|429|440000|Europe/Zurich
Geneva|Switzerland|CH|Geneva|46.202|6.146|375|205000|Europe/Zurich
Paris|France|FR|Île-de-France|48.853|2.349|42|2100000|Europe/Paris
Marseille|France|FR|Provence-Alpes-Côte d'Azur|43.297|5.381|28|870000|Europe/Paris
Lyon|France|FR|Auvergne-Rhône-Alpes|45.749|4.847|173|520000|Europe/Paris
Brest|France|FR|Brittany|48.390|-4.487|52|140000|Europe/Paris
Brest|Belarus|BY|Brest|52.098|23.688|143|340000|Europe/Minsk
Valencia|Spain|ES|Valencia|39.470|-0.377|16|800000|Europe/Madrid
Valencia|Venezuela|VE|Carabobo|10.162|-68.008|479|1600000|America/Caracas
Madrid|Spain|ES|Madrid|40.417|-3.703|657|3300000|Europe/Madrid
Barcelona|Spain|ES|Catalonia|41.389|2.159|12|1640000|Europe/Madrid
Barcelona|Venezuela|VE|Anzoátegui|10.136|-64.686|13|420000|America/Caracas
Córdoba|Spain|ES|Andalusia|37.892|-4.773|106|325000|Europe/Madrid
Córdoba|Argentina|AR|Córdoba|-31.414|-64.181|396|1500000|America/Argentina/Cordoba
Cartagena|Spain|ES|Murcia|37.605|-0.986|10|215000|Europe/Madrid
Cartagena|Colombia|CO|Bolívar|10.400|-75.514|2|910000|America/Bogota
Lisbon|Portugal|PT|Lisbon|38.717|-9.133|45|550000|Europe/Lisbon
Porto|Portugal|PT|Porto|41.150|-8.611|104|230000|Europe/Lisbon
Ponta Delgada|Portugal|PT|Azores|37.739|-25.669|23|68000|Atlantic/Azores
Rome|Italy|IT|Lazio|41.892|12.511|20|2750000|Europe/Rome
Rome|United States|US|Georgia|34.257|-85.165|187|37000|America/New_York
Milan|Italy|IT|Lombardy|45.464|9.190|122|1370000|Europe/Rome
Naples|Italy|IT|Campania|40.852|14.268|17|910000|Europe/Rome
Naples|United States|US|Florida|26.142|-81.795|3|19000|America/New_York
Palermo|Italy|IT|Sicily|38.116|13.361|14|630000|Europe/Rome
Athens|Greece|GR|Attica|37.984|23.728|70|640000|Europe/Athens
Athens|United States|US|Georgia|33.961|-83.378|233|127000|America/New_York
London|United Kingdom|GB|England|51.509|-0.126|25|8900000|Europe/London
London|Canada|CA|Ontario|42.983|-81.233|251|420000|America/Toronto
Manchester|United Kingdom|GB|England|53.481|-2.237|38|550000|Europe/London
Manchester|United States|US|New Hampshire|42.996|-71.455|64|115000|America/New_York
Birmingham|United Kingdom|GB|England|52.481|-1.900|149|1140000|Europe/London
Birmingham|United States|US|Alabama|33.521|-86.802|187|200000|America/Chicago
Edinburgh|United Kingdom|GB|Scotland|55.952|-3.196|47|510000|Europe/London
Cambridge|United Kingdom|GB|England|52.200|0.117|12|145000|Europe/London
Cambridge|United States|US|Massachusetts|42.375|-71.106|12|118000|America/New_York
Dublin|Ireland|IE|Leinster|53.333|-6.249|17|590000|Europe/Dublin
Dublin|United States|US|Ohio|40.099|-83.114|253|49000|America/New_York
Amsterdam|Netherlands|NL|North Holland|52.374|4.890|13|870000|Europe/Amsterdam
Brussels|Belgium|BE|Brussels Capital|50.850|4.349|28|1200000|Europe/Brussels
Copenhagen|Denmark|DK|Capital Region|55.676|12.566|14|640000|Europe/Copenhagen
Oslo|Norway|NO|Oslo|59.913|10.746|26|700000|Europe/Oslo
Bergen|Norway|NO|Vestland|60.393|5.325|10|290000|Europe/Oslo
Tromsø|Norway|NO|Troms|69.649|18.956|10|77000|Europe/Oslo
Longyearbyen|Svalbard|SJ|Svalbard|78.223|15.647|10|2400|Arctic/Longyearbyen
Stockholm|Sweden|SE|Stockholm|59.329|18.069|17|980000|Europe/Stockholm
Kiruna|Sweden|SE|Norrbotten|67.856|20.225|530|17000|Europe/Stockholm
Helsinki|Finland|FI|Uusimaa|60.170|24.935|26|660000|Europe/Helsinki
Reykjavik|Iceland|IS|Capital Region|64.136|-21.895|37|135000|Atlantic/Reykjavik
Tallinn|Estonia|EE|Harju|59.437|24.754|25|450000|Europe/Tallinn
Warsaw|Poland|PL|Mazovia|52.230|21.012|113|1860000|Europe/Warsaw
Kraków|Poland|PL|Lesser Poland|50.062|19.937|219|800000|Europe/Warsaw
Prague|Czechia|CZ|Prague|50.088|14.421|202|1300000|Europe/Prague
Budapest|Hungary|HU|Budapest|47.498|19.040|104|1750000|Europe/Budapest
Bucharest|Romania|RO|Bucharest|44.432|26.106|83|1720000|Europe/Bucharest
Sofia|Bulgaria|BG|Sofia|42.698|23.324|562|1280000|Europe/Sofia
Belgrade|Serbia|RS|Central Serbia|44.804|20.465|117|1200000|Europe/Belgrade
Zagreb|Croatia|HR|Zagreb|45.814|15.978|130|770000|Europe/Zagreb
Kyiv|Ukraine|UA|Kyiv|50.455|30.524|179|2950000|Europe/Kyiv
Istanbul|Turkey|TR|Istanbul|41.014|28.950|39|15500000|Europe/Istanbul
Ankara|Turkey|TR|Ankara|39.920|32.854|874|5100000|Europe/Istanbul
Moscow|Russia|RU|Moscow|55.752|37.616|144|12600000|Europe/Moscow
Moscow|United States|US|Idaho|46.732|-117.000|787|25000|America/Los_Angeles
Yakutsk|Russia|RU|Sakha|62.034|129.733|98|330000|Asia/Yakutsk
Novosibirsk|Russia|RU|Novosibirsk|55.041|82.934|150|1600000|Asia/Novosibirsk
Vladivostok|Russia|RU|Primorye|43.106|131.874|40|600000|Asia/Vladivostok
Cairo|Egypt|EG|Cairo|30.063|31.250|23|9600000|Africa/Cairo
Alexandria|Egypt|EG|Alexandria|31.202|29.916|5|5200000|Africa/Cairo
Alexandria|United States|US|Virginia|38.805|-77.047|9|160000|America/New_York
Tripoli|Libya|LY|Tripoli|32.887|13.191|81|1150000|Africa/Tripoli
Tripoli|Lebanon|LB|North Governorate|34.437|35.850|11|230000|Asia/Beirut
Tunis|Tunisia|TN|Tunis|36.819|10.166|12|640000|Africa/Tunis
Casablanca|Morocco|MA|Casablanca-Settat|33.588|-7.611|27|3360000|Africa/Casablanca
Dakar|Senegal|SN|Dakar|14.694|-17.444|22|1150000|Africa/Dakar
Lagos|Nigeria|NG|Lagos|6.454|3.395|11|15000000|Africa/Lagos
Lagos|Portugal|PT|Faro|37.102|-8.673|20|23000|Europe/Lisbon
Accra|Ghana|GH|Greater Accra|5.556|-0.197|61|2300000|Africa/Accra
Kinshasa|DR Congo|CD|Kinshasa|-4.328|15.313|281|16000000|Africa/Kinshasa
Nairobi|Kenya|KE|Nairobi|-1.283|36.817|1684|4400000|Africa/Nairobi
Addis Ababa|Ethiopia|ET|Addis Ababa|9.025|38.747|2355|3900000|Africa/Addis_Ababa
Dar es Salaam|Tanzania|TZ|Dar es Salaam|-6.823|39.270|12|5400000|Africa/Dar_es_Salaam
Johannesburg|South Africa|ZA|Gauteng|-26.202|28.044|1767|5600000|Africa/Johannesburg
Cape Town|South Africa|ZA|Western Cape|-33.926|18.423|25|4700000|Africa/Johannesburg
Windhoek|Namibia|NA|Khomas|-22.559|17.083|1655|430000|Africa/Windhoek
Antananarivo|Madagascar|MG|Analamanga|-18.914|47.536|1288|1400000|Indian/Antananarivo
Jerusalem|Israel|IL|Jerusalem|31.769|35.216|786|970000|Asia/Jerusalem
Baghdad|Iraq|IQ|Baghdad|33.341|44.401|41|7600000|Asia/Baghdad
Tehran|Iran|IR|Tehran|35.694|51.422|1179|9000000|Asia/Tehran
Riyadh|Saudi Arabia|SA|Riyadh|24.688|46.722|612|7000000|Asia/Riyadh
Dubai|United Arab Emirates|AE|Dubai|25.077|55.309|11|3500000|Asia/Dubai
Hyderabad|Pakistan|PK|Sindh|25.397|68.358|33|1700000|Asia/Karachi
Hyderabad|India|IN|Telangana|17.384|78.456|515|6800000|Asia/Kolkata
Karachi|Pakistan|PK|Sindh|24.861|67.010|14|16000000|Asia/Karachi
Kabul|Afghanistan|AF|Kabul|34.528|69.172|1798|4400000|Asia/Kabul
Tashkent|Uzbekistan|UZ|Tashkent|41.265|69.216|424|2900000|Asia/Tashkent
Almaty|Kazakhstan|KZ|Almaty|43.250|76.912|785|2000000|Asia/Almaty
Delhi|India|IN|Delhi|28.652|77.231|227|16800000|Asia/Kolkata
Mumbai|India|IN|Maharashtra|19.073|72.883|14|12700000|Asia/Kolkata
Leh|India|IN|Ladakh|34.165|77.585|3500|31000|Asia/Kolkata
Kathmandu|Nepal|NP|Bagmati|27.702|85.321|1317|860000|Asia/Kathmandu
Dhaka|Bangladesh|BD|Dhaka|23.710|90.407|23|10400000|Asia/Dhaka
Yangon|Myanmar|MM|Yangon|16.805|96.156|30|5200000|Asia/Yangon
Bangkok|Thailand|TH|Bangkok|13.754|100.501|12|5100000|Asia/Bangkok
Hanoi|Vietnam|VN|Hanoi|21.025|105.841|18|8100000|Asia/Bangkok
Singapore|Singapore|SG|Singapore|1.290|103.850|23|5700000|Asia/Singapore
Jakarta|Indonesia|ID|Jakarta|-6.215|106.845|16|10600000|Asia/Jakarta
Manila|Philippines|PH|Metro Manila|14.604|120.982|12|1850000|Asia/Manila
Hong Kong|Hong Kong|HK|Hong Kong|22.278|114.175|59|7500000|Asia/Hong_Kong
Beijing|China|CN|Beijing|39.908|116.397|49|18900000|Asia/Shanghai
Shanghai|China|CN|Shanghai|31.222|121.458|12|24800000|Asia/Shanghai
Ürümqi|China|CN|Xinjiang|43.801|87.600|860|4000000|Asia/Urumqi
Lhasa|China|CN|Tibet|29.650|91.100|3651|460000|Asia/Shanghai
Ulaanbaatar|Mongolia|MN|Ulaanbaatar|47.908|106.883|1297|1450000|Asia/Ulaanbaatar
Seoul|South Korea|KR|Seoul|37.566|126.978|38|9700000|Asia/Seoul
Tokyo|Japan|JP|Tokyo|35.690|139.692|44|9700000|Asia/Tokyo
Sapporo|Japan|JP|Hokkaido|43.067|141.350|26|1960000|Asia/Tokyo
Perth|Australia|AU|Western Australia|-31.952|115.861|18|2100000|Australia/Perth
Perth|United Kingdom|GB|Scotland|56.395|-3.431|15|47000|Europe/London
Darwin|Australia|AU|Northern Territory|-12.461|130.842|37|140000|Australia/Darwin
Adelaide|Australia|AU|South Australia|-34.929|138.599|43|1400000|Australia/Adelaide
Melbourne|Australia|AU|Victoria|-37.814|144.963|25|5100000|Australia/Melbourne
Melbourne|United States|US|Florida|28.084|-80.608|6|85000|America/New_York
Sydney|Australia|AU|New South Wales|-33.868|151.207|58|5300000|Australia/Sydney
Sydney|Canada|CA|Nova Scotia|46.138|-60.180|20|30000|America/Glace_Bay
Brisbane|Australia|AU|Queensland|-27.468|153.028|27|2500000|Australia/Brisbane
Hobart|Australia|AU|Tasmania|-42.879|147.329|49|250000|Australia/Hobart
Wellington|New Zealand|NZ|Wellington|-41.287|174.776|13|215000|Pacific/Auckland
Hamilton|New Zealand|NZ|Waikato|-37.783|175.283|40|180000|Pacific/Auckland
Hamilton|Canada|CA|Ontario|43.250|-79.850|100|570000|America/Toronto
Hamilton|Bermuda|BM|Hamilton|32.295|-64.783|18|900|Atlantic/Bermuda
Suva|Fiji|FJ|Central|-18.142|178.442|15|94000|Pacific/Fiji
Honolulu|United States|US|Hawaii|21.307|-157.858|18|350000|Pacific/Honolulu
Anchorage|United States|US|Alaska|61.218|-149.900|31|290000|America/Anchorage
Vancouver|Canada|CA|British Columbia|49.250|-123.119|70|660000|America/Vancouver
Vancouver|United States|US|Washington|45.639|-122.662|52|190000|America/Los_Angeles
Calgary|Canada|CA|Alberta|51.050|-114.085|1048|1300000|America/Edmonton
Winnipeg|Canada|CA|Manitoba|49.884|-97.147|239|750000|America/Winnipeg
Toronto|Canada|CA|Ontario|43.700|-79.416|175|2800000|America/Toronto
Montréal|Canada|CA|Quebec|45.509|-73.588|36|1760000|America/Toronto
St. John's|Canada|CA|Newfoundland and Labrador|47.565|-52.710|57|110000|America/St_Johns
Portland|United States|US|Oregon|45.523|-122.676|15|650000|America/Los_Angeles
Portland|United States|US|Maine|43.657|-70.259|19|68000|America/New_York
Springfield|United States|US|Illinois|39.802|-89.644|182|114000|America/Chicago
Springfield|United States|US|Missouri|37.215|-93.298|396|169000|America/Chicago
Springfield|United States|US|Massachusetts|42.101|-72.590|21|155000|America/New_York
New York|United States|US|New York|40.714|-74.006|10|8300000|America/New_York
Chicago|United States|US|Illinois|41.850|-87.650|179|2700000|America/Chicago
Denver|United States|US|Colorado|39.739|-104.985|1609|715000|America/Denver
Phoenix|United States|US|Arizona|33.448|-112.074|331|1600000|America/Phoenix
Los Angeles|United States|US|California|34.052|-118.244|89|3900000|America/Los_Angeles
San José|Costa Rica|CR|San José|9.933|-84.083|1160|340000|America/Costa_Rica
San Jose|United States|US|California|37.339|-121.895|26|1010000|America/Los_Angeles
Mexico City|Mexico|MX|Mexico City|19.428|-99.128|2240|9200000|America/Mexico_City
Mérida|Mexico|MX|Yucatán|20.970|-89.620|10|920000|America/Merida
Mérida|Spain|ES|Extremadura|38.917|-6.343|217|59000|Europe/Madrid
Havana|Cuba|CU|La Habana|23.133|-82.383|59|2100000|America/Havana
Kingston|Jamaica|JM|Kingston|17.997|-76.794|9|940000|America/Jamaica
Kingston|Canada|CA|Ontario|44.231|-76.486|93|132000|America/Toronto
Bogotá|Colombia|CO|Bogotá|4.610|-74.082|2582|7700000|America/Bogota
Quito|Ecuador|EC|Pichincha|-0.230|-78.525|2854|1760000|America/Guayaquil
Lima|Peru|PE|Lima|-12.043|-77.028|154|9700000|America/Lima
Lima|United States|US|Ohio|40.743|-84.105|267|36000|America/New_York
La Paz|Bolivia|BO|La Paz|-16.500|-68.150|3782|810000|America/La_Paz
La Paz|Mexico|MX|Baja California Sur|24.142|-110.313|27|250000|America/Mazatlan
Santiago|Chile|CL|Santiago Metropolitan|-33.457|-70.648|556|6200000|America/Santiago
Punta Arenas|Chile|CL|Magallanes|-53.160|-70.908|9|125000|America/Punta_Arenas
Buenos Aires|Argentina|AR|Buenos Aires|-34.613|-58.377|31|3100000|America/Argentina/Buenos_Aires
Manaus|Brazil|BR|Amazonas|-3.102|-60.025|48|2200000|America/Manaus
São Paulo|Brazil|BR|São Paulo|-23.548|-46.636|769|12300000|America/Sao_Paulo
"""
