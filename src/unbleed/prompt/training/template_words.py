"""Words of the sentences that the embedded parser is trained on beside the treebank: what people ask pictures of."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    """Return words; an underscore stands for a space between two that belong together."""
    return tuple(word.replace("_", " ") for word in text.split())


COLOURS = _words(
    "red orange yellow green blue purple pink brown gray grey black white beige teal turquoise cyan magenta maroon crimson "
    "scarlet violet lavender lilac indigo navy olive lime gold golden silver bronze cream tan khaki peach coral ivory amber "
    "emerald ruby mint mauve burgundy charcoal azure aqua"
)
SHADES = _words("dark light bright pale deep neon pastel vivid dull soft hot")

LOOKS = _words(
    "furry fluffy hairy shaggy curly bushy spotted striped checkered checked plaid dotted floral patterned plain modern "
    "vintage antique old new ancient rustic futuristic rusty shiny glossy matte dusty dirty clean muddy wet dry frozen "
    "melted "
    "broken cracked torn worn tattered wrinkled smooth rough soft hard thick thin fat slim skinny plump chubby tall short "
    "long wide narrow big small tiny little large huge giant enormous gigantic massive miniature round square oval "
    "rectangular triangular curved straight pointed pointy spiky sharp flat hollow empty full open closed wooden woolen "
    "metallic golden leafy grassy sandy rocky snowy icy rainy sunny cloudy foggy misty stormy starry sleepy sleeping happy "
    "sad angry grumpy cheerful lonely cute adorable beautiful pretty handsome ugly elegant fancy luxurious cozy messy tidy "
    "crowded busy quiet calm peaceful wild tame young elderly bald bearded blonde blond barefoot muscular strong weak brave "
    "scary spooky creepy friendly magical mystical enchanted haunted transparent translucent opaque clear colorful colourful "
    "bright glowing sparkling shimmering burning steaming smoking flying running jumping swimming dancing smiling laughing "
    "crying floating falling hanging sliced chopped peeled skewered grilled baked fried roasted boiled toasted frosted "
    "stuffed folded rolled twisted knitted woven braided embroidered quilted painted carved polished varnished decorated "
    "parked abandoned ruined wilted blooming ripe rotten fresh juicy sweet sour spicy salty hot cold warm cool delicious "
    "creamy crispy crunchy bitter raw edible poisonous venomous extinct robotic mechanical electric electronic digital "
    "wireless portable inflatable foldable oversized undersized slender slimy scaly feathery feathered winged horned tailed "
    "masked hooded cloaked armored armoured crowned jeweled jewelled royal regal noble holy sacred evil demonic angelic "
    "ghostly alien cosmic celestial lunar solar tropical arctic exotic oriental medieval gothic baroque victorian retro "
    "minimalist abstract surreal realistic detailed intricate ornate simple humble shabby lovely gorgeous stunning weathered "
    "crooked tilted upright lush barren dense sparse distant nearby lone single double matching identical vertical "
    "horizontal "
    "diagonal"
)
MATERIALS = _words(
    "wood metal glass plastic leather stone brick marble concrete steel iron copper brass silver gold bronze paper cardboard "
    "cotton wool silk linen denim velvet satin lace fur rubber clay ceramic porcelain crystal ice sand chocolate straw "
    "bamboo "
    "wicker granite slate tin aluminum chrome canvas felt nylon wax jade pearl diamond"
)
# nouns that stand before a noun like a modifier
FIRST_NOUNS = _words(
    "baby toy kitchen bathroom street city garden living_room coffee tea wine beer school fire police tennis baseball "
    "football soccer basketball hockey polka_dot teddy rocking swimming mountain forest desert ocean sea beach river lake "
    "winter summer spring autumn christmas birthday wedding party picnic train bus car truck computer laptop video music "
    "sports military army navy space robot monster dragon fairy princess pirate cowboy ninja zombie vampire cartoon anime "
    "pixel comic origami lego paper flower fruit apple orange cherry lemon strawberry chocolate vanilla cheese potato pine "
    "oak palm maple rose sunflower lily moon sun star night day morning evening stop traffic road parking shopping office "
    "hospital church castle palace farm barn country village house apartment hotel bedroom dining conference art science "
    "history pilot captain chef doctor"
)
PEOPLE = _words(
    "man woman boy girl child kid baby toddler teenager lady gentleman person guy bride groom couple king queen prince "
    "princess knight soldier officer policeman firefighter doctor nurse chef waiter waitress farmer fisherman sailor pirate "
    "astronaut pilot dancer ballerina singer musician guitarist drummer violinist artist painter writer teacher student "
    "player skier surfer snowboarder skateboarder cyclist runner swimmer boxer wrestler golfer clown magician wizard witch "
    "elf fairy mermaid angel demon ghost vampire zombie robot alien cyborg warrior samurai ninja monk nun priest businessman "
    "worker tourist hiker grandmother grandfather mother father sister brother friend hero superhero villain detective "
    "hunter "
    "shepherd cowboy viking"
)
ANIMALS = _words(
    "cat kitten dog puppy bird parrot owl eagle hawk pigeon crow raven swan duck goose chicken hen rooster peacock flamingo "
    "penguin ostrich turkey sparrow hummingbird toucan bear panda koala lion tiger leopard cheetah jaguar panther wolf fox "
    "coyote hyena horse pony foal zebra donkey mule cow bull calf ox buffalo bison sheep lamb goat pig piglet boar deer "
    "moose "
    "elk reindeer antelope gazelle giraffe elephant rhino rhinoceros hippo hippopotamus camel llama alpaca kangaroo monkey "
    "gorilla chimpanzee orangutan lemur sloth raccoon skunk badger otter beaver squirrel chipmunk rabbit bunny hare mouse "
    "rat "
    "hamster hedgehog mole bat frog toad turtle tortoise lizard gecko iguana chameleon snake crocodile alligator dinosaur "
    "dragon unicorn phoenix griffin fish goldfish shark whale dolphin seal walrus octopus squid jellyfish starfish crab "
    "lobster shrimp snail slug worm spider scorpion ant bee wasp butterfly moth dragonfly beetle ladybug grasshopper "
    "caterpillar corgi poodle bulldog husky dachshund retriever"
)
OBJECTS = _words(
    "car truck bus van taxi train tram boat ship sailboat canoe kayak yacht submarine airplane plane helicopter rocket "
    "spaceship balloon bicycle bike motorcycle scooter skateboard surfboard snowboard sled wagon cart tractor trailer "
    "carriage wheel engine chair table desk bench sofa couch bed pillow blanket lamp candle lantern mirror clock watch vase "
    "pot bowl cup mug plate dish spoon fork knife bottle jar glass teapot kettle pan toaster oven stove microwave "
    "refrigerator fridge sink faucet toilet bathtub shower towel soap toothbrush comb brush scissors hammer screwdriver saw "
    "drill ladder bucket broom mop basket box crate suitcase backpack bag purse wallet umbrella hat cap helmet crown tiara "
    "glasses sunglasses goggles mask scarf tie bow ribbon shirt t-shirt blouse sweater hoodie jacket coat vest suit dress "
    "skirt pants jeans shorts socks shoe boot sandal slipper sneaker glove mitten belt ring necklace bracelet earring brooch "
    "gown robe cape cloak uniform apron pajamas swimsuit bikini phone telephone smartphone laptop computer keyboard monitor "
    "screen tablet camera television radio speaker headphones microphone book notebook newspaper magazine letter envelope "
    "pen "
    "pencil crayon paintbrush easel canvas poster sign flag kite ball bat racket net trophy medal guitar violin cello piano "
    "drum trumpet saxophone flute harp accordion banjo tuba toy doll teddy_bear puppet puzzle dice card chess_board sword "
    "shield spear bow arrow axe gun cannon armor key lock door window curtain gate fence wall roof chimney stairs staircase "
    "tower house cottage cabin hut castle palace church temple barn lighthouse windmill bridge tunnel statue fountain "
    "bench_press mailbox hydrant fire_hydrant stop_sign traffic_light parking_meter lamp_post bus_stop ice_cream hot_dog "
    "hamburger sandwich pizza cake cupcake cookie donut doughnut pie bread loaf croissant bagel pancake waffle cheese egg "
    "bacon sausage steak salad soup noodles rice pasta sushi apple banana pear peach plum cherry grape strawberry blueberry "
    "raspberry orange lemon lime pineapple mango melon watermelon coconut kiwi avocado tomato potato carrot onion garlic "
    "pepper cucumber lettuce cabbage broccoli cauliflower spinach pumpkin mushroom corn bean pea nut coffee tea milk juice "
    "wine beer water tree bush flower rose tulip daisy sunflower lily orchid lotus cactus fern leaf branch log stump grass "
    "moss vine seed rock stone pebble crystal gem cloud sun moon star planet comet snowflake snowman rainbow icicle feather "
    "shell nest egg_shell web bone skull tail wing horn beak claw mane eye nose ear mouth lip tooth tongue hand finger foot "
    "leg arm hair beard mustache tattoo stripe spot"
)
PLACES = _words(
    "room kitchen bathroom bedroom hallway balcony garden yard lawn park playground field meadow forest jungle desert beach "
    "shore island ocean sea lake river stream pond waterfall mountain hill valley cliff cave canyon volcano glacier sky "
    "street road path trail alley sidewalk highway city town village market shop store restaurant cafe bar library museum "
    "school office factory station airport harbor dock parking_lot stage stadium court table floor carpet rug shelf counter "
    "windowsill rooftop"
)
PICTURES = _words(
    "photo photograph picture image painting drawing sketch illustration portrait render rendering watercolor sculpture "
    "statue close-up snapshot shot poster sticker icon logo view scene"
)
KINDS_OF_PICTURE = _words(
    "oil watercolor pencil charcoal digital aerial macro vintage polaroid stock studio close-up detailed realistic 3d "
    "black-and-white professional cinematic blurry wide-angle surreal abstract vector"
)
TAGS = (
    "masterpiece",
    "best quality",
    "high quality",
    "highly detailed",
    "ultra detailed",
    "intricate details",
    "sharp focus",
    "soft focus",
    "8k",
    "4k",
    "hdr",
    "uhd",
    "high resolution",
    "trending on artstation",
    "octane render",
    "unreal engine",
    "volumetric lighting",
    "cinematic lighting",
    "studio lighting",
    "soft lighting",
    "golden hour",
    "depth of field",
    "bokeh",
    "35mm",
    "concept art",
    "digital art",
    "digital painting",
    "oil on canvas",
    "watercolor",
    "anime style",
    "cartoon style",
    "pixel art",
    "photorealistic",
    "hyperrealistic",
    "realistic",
    "minimalist",
    "surreal",
    "award winning photography",
    "national geographic",
    "wide angle",
    "white background",
    "plain background",
    "blurred background",
    "film grain",
    "3d render",
)
GROUPS = _words(
    "group pair bunch couple set row pile stack herd flock crowd number bowl box basket glass cup bottle plate slice piece"
)
SIDES = _words("front back top bottom side middle left right center corner edge")
NUMBERS = _words("two three four five six seven eight nine ten 2 3 4 5 several many some few")
PREPOSITIONS = _words(
    "with in on at by near beside behind under below above over inside outside against beneath from of without around between"
)
# verbs with something that is done to, as in "holds a red ball"
DOING = _words(
    "wear hold carry eat drink ride play read push pull chase watch paint kick throw catch feed hug face cover wash drive "
    "fly "
    "hit use bite chew lick sniff guard juggle slice pour draw repair nibble cut chop cook bake stir serve brush comb clean "
    "polish climb cross pass follow lead show display touch grab grip lift raise balance swing toss shoot photograph film "
    "sketch write build carve sew knit open close fold wrap decorate fill surround cast spray splash water milk saddle walk "
    "pet stroke scratch kiss greet visit enter leave explore examine inspect study sell buy pick gather collect plant "
    "harvest "
    "peel squeeze spill blow light melt reflect overlook block frame line border adorn support contain offer hand give take "
    "bring drop drag tow haul load steer pilot row paddle tie try have see find keep sip taste tear wave hang place set park "
    "point aim fire operate drive board approach join lean rest put hurl stack arrange mix dip roll spin flip slide crack "
    "chase herd lasso rope groom shave trim mow rake sweep mop scrub dust sharpen"
)
# verbs that say where and how something is, as in "sits on a bench"
BEING = _words(
    "sit stand lie sleep rest run walk jump fly swim float hang lean play climb crawl hide drift grow dance wait glide graze "
    "skate surf look stare gaze peek peer perch land lay hop leap gallop trot prance sprint jog march stroll wander roam "
    "stretch kneel squat crouch bend reach point smile laugh frown grin cry shout sing talk chat speak listen pose work cook "
    "shop eat drink read study rise fall sink dive drip flow leak burn glow shine sparkle shimmer glitter twinkle flicker "
    "wave bark roar howl chirp buzz hum spin roll slide slip skid race speed drive ride travel sail row park stop pause "
    "arrive gather huddle loom tower spread wrap curl coil twist swing sway bounce balance ski snowboard skateboard bike "
    "hike "
    "camp fish hunt dig chew nibble peck sniff wade splash soak bathe bask nest hover soar swoop circle flap flutter bloom "
    "sprout melt move turn come go live stay stick lead open face cross pass appear emerge stretch extend tumble stumble "
    "limp "
    "sneak lurk snuggle cuddle nap doze snooze pile cluster line rush dash charge fight"
)
STANDING = _words(
    "parked perched seated situated located mounted displayed stacked piled hung tied attached placed set lit reflected"
)
HOW_DONE = _words("quietly happily slowly quickly together alone comfortably patiently outside inside nearby peacefully gently")
MADE = _words("made painted dressed covered filled decorated surrounded topped lined wrapped sliced")
HOW = _words("very really extremely brightly dimly softly freshly slightly partially highly neatly beautifully")
