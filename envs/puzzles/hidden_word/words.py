"""The words that are hidden: common English ones, by length."""

_FOUR = """
able acid aunt away baby back bake ball band bank barn bath beak bean bear beat bell belt bend bike bird
blue boat body bold bone book boot born bowl brim bulb burn bush cake calm camp card care cart cash cave
chef chin city clay club coal coat coin cold comb cook copy cord corn cost crab crew crop cube curl dark
dawn deck deer desk dice dish dive dock door dove down draw drum duck dust duty each earn east easy edge
even exit face fact fair farm fast fear felt file film fish flag flat foam foil folk food foot fork frog
fuel game gate gift girl glad glow glue goal goat gold good gray grid grip grow hair half hall hand harp
hawk heat help herb hero hike hill holy home hood hope horn host hour hunt idea inch iron item jazz join
joke jump jury kept kind king kite knee knot lace lake lamb lamp land lawn lazy leaf left lens life lift
lime line lion list loaf lock long loud luck lump lung mail main many mask meal melt milk mill mind mint
moon moss moth myth nail name navy neck nest nine noon nose note oath obey once open oven over pack page
palm park path peak pear pile pine plan play plum poem pond pony port quiz race rain reef rice ring rise
road rock roof rope ruby sail salt sand seal seed shed ship shoe shop silk sink site skin snow soap sock
soil song soup star step stop surf swan tail tall tape task team tent tide tile toad tool town tray tree
trip true tube twin unit vase verb vest view vine wall warm wave weak week well west whip wide wife wild
wind wing wise wolf wood wool yard yarn year zero zone
"""

_FIVE = """
abide actor acute adapt admit adopt adult after agent agree ahead alarm album alert alley allow alone along
amber angel anger angle apple apron arena argue arise arrow aside atlas attic audio avoid awake award bacon
badge baker basin beach beard beast begin bench berry birth black blade blame blank blaze blend bless blind
block bloom board boast bonus boost booth bound brain brake brand brass brave bread break brick bride brief
bring broad brook broom brown brush build bunch cabin cable camel canal candy canoe cargo carry catch cedar
chain chair chalk charm chase cheap cheer chess chest chief child chill choir chord civil claim clean clear
clerk cliff climb cloak clock cloth cloud clown coach coast cocoa coral couch count court cover crane crash
cream creek crime crisp crowd crown crust cycle daily dairy dance delay depth diary digit dozen draft drain
dream dress drift drink drive eager eagle early earth eight elbow elder empty enjoy enter equal event exact
extra fable faith false fancy favor feast fence fever field fifty flame flash fleet float flock flood floor
flour fluid flute focus force forge forty found frame fresh front frost fruit funny ghost giant glass globe
glory glove grain grand grape graph grass great green greet grief group guard guest guide habit happy harsh
haste heart heavy hedge hello honey honor horse hotel house human humor ideal image index inner ivory jewel
joint judge juice kayak knife knock label large laser later laugh layer learn lemon level lever light limit
linen liver local lodge logic loose lorry lucky lunar lunch magic major maker maple march marsh match maybe
mayor medal melon mercy merge merit merry metal meter minor model money month moral motor mount mouse mouth
movie music naval nerve never night noble noise north novel nurse oasis ocean offer olive onion opera orbit
order organ other otter outer owner paint panel paper party pasta patch pause peace peach pearl pedal penny
phone photo piano piece pilot pitch place plain plane plant plate plaza point polar porch pouch pound power
press price pride prime print prize proof proud punch pupil queen quick quiet quilt quote radar radio raise
ranch range rapid raven reach ready realm rebel relax reply rhyme rider ridge rifle right rival river roast
robin robot rocky rough round route royal rugby ruler rural salad sauce scale scarf scene scent scout shade
shape share shark sharp sheep sheet shelf shell shine shirt shore short shout shrub sight skill skirt slate
sleep slice slope smart smell smile smoke snack snail snake solar solid solve sound south space spare spark
speak speed spell spend spice spoon sport stack stage stair stamp stand start state steam steel steep stick
stone storm story stove straw stuff style sugar sunny swamp sweet swing sword table teach teeth tempo thank
theme thick thief thing think third thorn throw thumb tiger title toast today token tooth topic torch total
touch tower trade trail train treat trial tribe trick truck trunk trust truth tulip uncle under union unity
upper urban usual valid valve video villa visit vital vivid voice wagon waist waste watch water whale wheat
wheel while white whole width woman world worry wound wrist write yacht yield young youth zebra
"""

_SIX = """
absorb accept across action active admire advice afford agenda almond almost always amount anchor animal
annual answer appear arctic around arrive artist asleep aspect autumn avenue banana basket battle beacon
beauty became before behind belong bishop border bottle bottom branch breath breeze bridge bright broken
bronze bucket budget butter button camera canvas carbon carpet carrot castle cattle caught cavern cellar
cement center cereal chance change charge cheese cherry choice choose church cinema circle closet coffee
column comedy common cookie copper corner cotton cousin credit crisis custom damage dancer danger decade
defend degree demand desert design dinner doctor dollar donkey double dragon driver during easily editor
effort eleven empire energy engine enough escape estate expert fabric factor fallen family famous farmer
father figure finger flight flower follow forest forget formal fossil friend frozen future galaxy garden
garlic gather gentle ginger global golden govern ground growth guitar hammer handle harbor health helmet
hidden hollow honest humble hunger hunter impact inside island jacket jersey jungle kettle kitten ladder
launch lawyer leader league legend lesson linear liquid listen lively lizard locker lovely magnet manner
manual marble margin market master meadow medium member memory mental method middle minute mirror modern
moment monkey mother motion muscle museum napkin narrow nation nature needle number object office orange
orchid origin oxygen oyster palace parade parent pencil people pepper permit person pickle picnic pillow
planet plenty pocket poetry police potato powder prince public puzzle rabbit record region remote repair
rescue ribbon rocket safety salmon sample school season secret shadow shield signal silver simple singer
sister smooth soccer socket spider spirit spring square stable statue steady stream street string strong
studio summer sunset supply switch symbol talent temple tender tennis theory thirty ticket timber tomato
tongue travel tunnel turtle twelve unique useful valley velvet vessel violin vision volume walnut warmth
weapon weekly weight window winner winter wisdom wonder yellow
"""

WORDS = {len(words[0]): words for words in (tuple(text.split()) for text in (_FOUR, _FIVE, _SIX))}
"""By their length."""
