"""The words of the invented world that are not names: what people do, what companies make, what is said
besides the facts."""

from collections.abc import Mapping


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in text.split(","))


WORDS: Mapping[str, tuple[str, ...]] = {
    "occupation": _words("""glassblower, surveyor, botanist, bookbinder, lawyer, poet, chemist, cartographer,
        geologist, clockmaker, journalist, translator, painter, shipwright, teacher,
        doctor, mathematician, beekeeper, conductor, photographer, baker, notary,
        potter, bridge builder, historian, meteorologist, librarian, sculptor,
        tailor, violin maker"""),
    "instrument": _words("""cello, bassoon, lute, hurdy-gurdy, concertina, harpsichord, trombone, zither,
        mandolin, clarinet, double bass, nose flute, barrel organ, viola, saxophone,
        tuba, dulcimer, harp"""),
    "product": _words("""lanterns, ball bearings, sailcloth, telescopes, roof tiles, copper wire, piano
        strings, weather         balloons, canned herring, bicycle chains, paper
        clips, fountain pens, tram bodies, wool         blankets, pocket watches,
        liquorice, water pumps, porcelain cups, signal horns, fishing         nets,
        mosaic stones, sewing machines, barometers, candied plums, tunnel drills,
        lift cabins"""),
    "river": _words("""Ambrel, Vossa, Teln, Orrin, Kadvar, Luhe, Isqua, Merrow, Dunt, Pellow, Sarn, Yevra,
        Brask, Ollan, Tivre, Quenn, Rhusk, Zaleth, Noory, Haverd, Uldra, Fenwy,
        Gorsa, Chalm"""),
    "dish": _words("""barley dumplings, smoked eel, chestnut soup, plum noodles, pickled walnuts, goat
        stew, saffron         bread, nettle pie, river crab, buckwheat cakes, lamb
        in hay, beetroot jelly, fried         elderflower, onion pudding, cold pea
        soup, trout in clay, millet porridge, quince tart"""),
    "prize": _words("""silver trowel, golden thimble, crystal owl, bronze anchor, marble hand, velvet
        chair, cedar chest, ruby pin, copper kettle, jade comb, laurel crown, pearl
        button, brass sundial, tin drum, white pony, porcelain goose"""),
    "currency": _words("""dorin, velk, tarsen, obal, quint, marrel, siska, yoren, pindar, lusk, grotha, helm,
        cavo, brane, ottin, fessel"""),
}
"""The values of relations whose objects are words, in a form that can follow an article."""

EPITHETS = _words("""Silent, Quick, Old, Red, Honest, Lame, Tall, Merry, Stern, Lucky, Pale, Iron,
        Little, Dark, Gentle, Blind, Golden, Crooked, Sleepless, Wise, Stubborn,
        Northern, Barefoot, Careful""")

WORKSHOPS = _words("""Works, House, Mill""")

THEMES = _words("""Glass, Harvest, Kite, Lantern, Salt, River, Chess, Poetry, Timber, Rose, Bell,
        Ferry, Cider, Map, Clockwork, Wool, Bridge, Ice, Honey, Mask""")

GATHERINGS = _words(
    "Fair, Festival, Congress, Regatta, Exhibition, Derby, Biennale, Contest, Assembly, Parade"
)

ORDINALS = _words("""First, Second, Third, Fourth, Fifth, Sixth, Seventh, Eighth, Ninth, Tenth""")

ASIDES: Mapping[str, tuple[str, ...]] = {
    "person": (
        "Friends describe a patient listener with a weakness for bad puns.",
        "Letters from those years are kept in a tin box and have never been printed.",
        "A bad knee put an early end to a promising career in rowing.",
        "Nobody has ever seen {n} without a hat.",
        "An early riser, {n} is said to answer all letters before breakfast.",
        "Two autobiographies were begun and neither got past the third chapter.",
        "Critics speak of great care in small things.",
        "The collection of railway tickets runs to several thousand.",
        "In interviews {n} avoids questions about politics.",
        "A long illness was followed by the most productive years.",
        "Visitors are offered tea and a strong opinion on spelling.",
        "A portrait in oil hangs in a corridor where few people pass.",
    ),
    "company": (
        "Its yearly report is famous for its drawings.",
        "Apprentices spend their first month sweeping the yard.",
        "A fire destroyed the old workshop, but nobody was hurt.",
        "The canteen of {n} is open to everybody on Fridays.",
        "Every employee receives a goose at the end of the year.",
        "A strike over the length of the lunch break lasted eleven days.",
        "The chimney can be seen from far away.",
        "Its first catalogue had four pages and one mistake on each.",
        "An attempt to sell umbrellas was given up after one dry summer.",
        "The firm keeps a small museum behind the gatehouse.",
        "Its advertisements have used the same blue for decades.",
        "Half of what it turns out is sent abroad.",
    ),
    "place": (
        "The streets are steep, and carts are left at the lower gate.",
        "On market days the bells are not rung before ten.",
        "A flood carried off the old mill within living memory.",
        "The walls of {n} were pulled down to build the school.",
        "Storks nest on the granary every spring.",
        "Travellers praise the light in autumn and complain about the beds.",
        "The railway station lies an inconvenient half hour away.",
        "An old quarrel about grazing rights was settled over a barrel of beer.",
        "Its library owns a globe on which one continent is missing.",
        "The winters are long and the card games longer.",
        "Most houses have a bench in front and a walnut tree behind.",
        "The night watch still calls the hours from the tower.",
    ),
    "event": (
        "It rained on all days but the last.",
        "The programme was printed on yellow paper and is much collected.",
        "More visitors came than there were beds in the town.",
        "A balloon broke loose and was found a week later in a wood.",
        "The newspapers wrote of nothing else for a week.",
        "The brass band played the same march eleven times.",
        "Admission was free for everybody who brought a chair.",
        "A dispute about the rules ended with a handshake.",
        "Photographs of {n} show a crowd under umbrellas.",
        "The bill for the fireworks was paid years later.",
        "Lost property included a tuba and a wedding cake.",
        "The stands were built by volunteers in a single night.",
    ),
    "country": (
        "Its borders have not moved for three generations.",
        "The law still forbids whistling in court.",
        "Maps of {n} show more lakes than there are names for.",
        "Trains run on time and are therefore often empty.",
        "The parliament meets in a former riding school.",
        "Its stamps are sought by collectors everywhere.",
        "School begins when the harvest is in.",
        "The national holiday is celebrated with kites.",
        "Weights and measures are checked by a travelling inspector.",
        "The coast of {n} is steep and has few harbours.",
        "Every conscript learns to swim and to darn.",
        "Its only volcano has been asleep since before the first chronicle.",
    ),
}
"""Sentences beside the point, with the name as `{n}`: they state no relation, and so answer no question."""

LISTS: Mapping[str, str] = {
    "person": "Met on travels:",
    "company": "Guests of the last open day:",
    "place": "Seen at the last market:",
    "event": "Among the visitors:",
    "country": "Ambassadors:",
}
"""Headings of the list of names at the end of a page."""
