"""Words of quality, style, camera and mood: what tags are made of that name no thing."""

from __future__ import annotations

from .artists import ARTISTS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(phrase.strip() for phrase in text.replace("\n", ",").split(",") if phrase.strip())


# Words that praise, grade or date a picture. A tag of these alone says nothing of a thing.
QUALITY = _words(
    "masterpiece masterpieces best high highest good great top ultra super hyper extra extremely very highly insanely "
    "incredibly "
    "amazingly beautifully finely intricately hyper- ultra- quality qualities resolution res hi-res highres lowres hires "
    "absurdres "
    "incredibly_absurdres detail details detailed detailing intricate elaborate sharp sharpness crisp clear clean smooth "
    "perfect "
    "perfectly flawless professional professionally amazing awesome stunning gorgeous breathtaking beautiful impressive "
    "incredible "
    "exquisite fantastic epic award award-winning awardwinning winning winner contest trending trend popular viral featured "
    "photorealistic photo-realistic photoreal realistic hyperrealistic hyper-realistic hyperreal ultrarealistic "
    "ultra-realistic "
    "realism photorealism hyperrealism lifelike life-like true-to-life hd uhd fhd qhd hdr hdri hq lq 2k 4k 5k 8k 10k 12k 16k "
    "32k 64k "
    "1080p 720p 2160p 4k+ raw uncompressed jpeg png wallpaper nsfw sfw safe explicit questionable sensitive general newest "
    "recent "
    "late mid early oldest official unofficial original commission aesthetic aesthetics displeasing ultra-detailed "
    "ultradetailed "
    "hyperdetailed hyper-detailed super-detailed well-defined well defined anatomically correct proportions anatomy flat-out "
    "ultra-hd ultra-sharp hyper-sharp tack-sharp in-focus unity cohesive and or of the with a an in & very_aesthetic "
    "level insane extreme maximum max maximal most more perfection good-looking fine rich pro work excellent superb "
    "outstanding "
    "attention to lots much many full focused studio-quality museum-quality gallery-quality high-quality best-quality "
    "high-resolution "
    "high-res high-detail high-definition definition high-end magazine editorial commercial stock premium highly-detailed"
)

# Nouns that name a quality of the picture: a tag that ends in one names no thing.
STYLE_HEADS = _words(
    "lighting illumination quality focus style styles styled render renders rendering renderings photography photo photos "
    "photograph photographs photorealism realism art artwork artworks arts illustration illustrations painting paintings "
    "aesthetic aesthetics composition compositions resolution detail details detailing palette colors colours color colour "
    "coloring colouring colorization tone tones hue hues shading shaders shader texture textures texturing grain exposure "
    "perspective mood moods atmosphere ambiance ambience vibe vibes feel feeling engine effect effects contrast wallpaper blur "
    "bokeh sharpness clarity vignette saturation dof aberration distortion flare flares cinematography cinematics drawing "
    "drawings sketch sketches lineart linework line-art outlines brushstrokes brushwork brush stroke strokes impasto render "
    "graphics graphic design designs concept concepts theme themes genre punk-style anime manga cartoon comic comics cgi vfx "
    "3d 2d picture image images snapshot polaroid daguerreotype tintype footage still stills screenshot screencap screengrab "
    "frame framing shot shots closeup close-up close-ups angle angles viewpoint pov lens lenses iso aperture shutter fps "
    "megapixels mm film filmstock proportions anatomy symmetry asymmetry depth field bloom raytracing tracing occlusion "
    "scattering photogrammetry reflections gi rendition depiction interpretation impression masterpiece portraiture portrait "
    "selfie headshot mugshot photoshoot fashion asset assets scheme schemes gradient spritesheet tileset mockup moodboard "
    "print prints poster cover advertisement ad advert thumbnail infographic storyboard sheet turnaround artstation deviantart "
    "behance pinterest pixiv instagram flickr unsplash shutterstock cgsociety magazine century era 80s 90s 70s 60s 50s 1980s "
    "1990s 1970s 1960s 1950s 1940s 1930s 1920s y2k cyberpunk steampunk solarpunk dieselpunk biopunk vaporwave synthwave "
    "retrowave surrealism impressionism cubism expressionism minimalism maximalism futurism realism romanticism symbolism "
    "baroque rococo renaissance bauhaus brutalism pointillism fauvism dadaism watercolor watercolour gouache acrylic pastel "
    "pastels charcoal pencil ink oil tempera crayon linocut woodcut etching engraving lithograph movement pic screenprint "
    "timelapse strobe movement pic screenprint timelapse strobe imax svg png pixelart voxel voxels lowpoly claymation "
    "stop-motion papercraft ukiyo-e sumi-e nihonga"
)

# Nouns that a sentence can have and that name no thing either, see also `depicted.is_abstract`.
NO_THING_HEADS = _words(
    "lighting illumination quality focus style styles rendering photography photorealism realism aesthetic aesthetics "
    "composition resolution "
    "detail details palette tone tones hue hues shading exposure perspective mood moods atmosphere ambiance ambience vibe "
    "vibes feel feeling "
    "feelings contrast bokeh sharpness clarity vignette saturation dof aberration cinematography brushstrokes brushwork "
    "linework depth "
    "blur grain texture textures symmetry asymmetry theme themes concept concepts genre graphics cgi backlight backlighting "
    "lit sidelight"
)

# Adjectives of light, time and mood that make "light", "background" and the like a matter of style.
LIGHT = _words(
    "soft dramatic cinematic natural volumetric studio rim ambient warm cold cool bright dim harsh moody golden diffused "
    "diffuse directional "
    "beautiful perfect good low high key back side top rembrandt butterfly split professional ethereal magical hard strong "
    "subtle gentle even global "
    "indirect direct available fill practical morning evening afternoon daylight midday overcast atmospheric epic stunning "
    "dappled radiant realistic "
    "dynamic gray grey heavenly divine uneven flat candle ring softbox hazy god-ray chiaroscuro accent main hour"
)
BLANK = _words(
    "simple plain blurred blurry blank clean empty detailed complex gradient abstract minimal minimalist minimalistic "
    "transparent neutral "
    "solid seamless studio out-of-focus bokeh defocused soft beautiful scenic dark light bright intricate realistic dynamic "
    "colorful "
    "colourful two-tone multicolored monochrome patterned isolated intricately"
)
VIEWS = _words(
    "top side front back rear low high aerial isometric wide bird's-eye bird birds bird's worm's eye close-up closeup close "
    "macro panoramic pov "
    "first-person third-person first third street-level drone satellite overhead frontal profile three-quarter perspective "
    "orthographic dutch "
    "top-down cross-section cutaway exploded angle angled wide-angle fisheye long-shot medium full half extreme establishing "
    "sweeping rear-view full-body side-view "
    "body half-body zenith nadir oblique axonometric over-the-shoulder eye-level ground-level level cinematic"
)

# Words that say how the picture is made, also before a noun: "hyper realistic cat".
NO_LOOKS = _words(
    "realistic photorealistic photo-realistic hyperrealistic hyper-realistic ultra-realistic ultrarealistic hyper ultra photo "
    "style styled styles octane render unreal engine 3d 2d high-resolution high-quality"
)

# Kinds of pictures, and adjectives that say of what kind one is, alone or before others.
KINDS = _words(
    "cinematic dramatic volumetric anime manga cartoon cartoonish comic comics digital analog analogue vintage retro oil "
    "watercolor watercolour acrylic pencil charcoal ink pastel gouache impressionist impressionistic expressionist surreal "
    "surrealist surrealistic abstract cubist minimal minimalist minimalistic maximalist gothic baroque rococo romantic "
    "renaissance classical classic modern contemporary futuristic sci-fi scifi science fiction fantasy horror noir neo-noir "
    "western cyberpunk steampunk dieselpunk solarpunk biopunk atompunk vaporwave synthwave retrowave art deco nouveau pop op "
    "bauhaus brutalist ukiyo-e kawaii chibi cute funny whimsical dreamy dreamlike ethereal moody gritty grungy grunge dark "
    "eerie creepy spooky scary ominous mysterious mystical magical enchanting serene calm peaceful tranquil cozy nostalgic "
    "melancholic melancholy melancholia sad happy joyful joyous playful energetic dynamic vibrant vivid colorful colourful "
    "muted desaturated monochrome monochromatic grayscale greyscale sepia black white b&w bw colour color pastel neon warm "
    "cool cold bright soft bold saturated high-contrast low-contrast contrasting isometric orthographic panoramic symmetrical "
    "symmetric asymmetrical centered centred off-center wide-angle wide macro micro telephoto fisheye tilt-shift tilt shift "
    "bokeh blurry blurred grainy noisy glossy matte flat 2d 3d 2.5d vector pixel pixelated voxel low-poly low poly lowpoly "
    "polygonal cel cel-shaded shaded celshaded hand-drawn handdrawn hand-painted painterly sketchy stylized stylised "
    "illustrative illustrated animated ornate elegant decadent opulent luxurious sensual elegance edgy chic stylish trendy "
    "fashionable haute couture bohemian rustic indie lofi lo-fi dreamcore weirdcore liminal psychedelic trippy hypnotic "
    "uncanny grotesque macabre apocalyptic post-apocalyptic dystopian utopian medieval victorian edwardian historical mythical "
    "mythological biblical ancient futurist space-age tropical oriental asian japanese chinese european american nordic "
    "scandinavian slavic russian african egyptian disney pixar ghibli dreamworks marvel lego minecraft fortnite vogue netflix "
    "blender unreal octane unity maya zbrush houdini v-ray vray redshift arnold corona cryengine lumen cycles eevee engine 5 4 "
    "5.0 c4d cinema4d keyshot raytraced ray-traced ray-tracing path-tracing path-traced pbr rtx photoshop procreate "
    "illustrator lightroom midjourney dalle dall-e ultrawide widescreen letterbox anamorphic portrait landscape vertical "
    "horizontal square sfumato chiaroscuro tenebrism vignette silhouette backlit back-lit sidelit underexposed overexposed "
    "long-exposure double-exposure hdr cinemascope technicolor kodachrome ektachrome polaroid daguerreotype cyanotype "
    "lomography holga lomo 35mm 16mm 8mm 70mm wash screen silk silkscreen risograph riso letterpress block lino watercolored "
    "watercoloured product food wildlife nature street fashion documentary candid architectural architecture astrophotography "
    "sport sports studio wedding boudoir editorial advertising concept key matte character environment box splash cover "
    "promotional official line pop fine folk street graffiti tribal tattoo children's childrens storybook book kids nursery "
    "comic-book graphic novel movie film tv show music video game videogame screenshot cutscene television tv retro-futuristic "
    "retrofuturistic retrofuturism japanimation shonen shoujo seinen webtoon manhwa pulp propaganda travel japanese-style "
    "pre-raphaelite photobash photobashing mixed media multimedia timeless immersive evocative emotional expressive thoughtful "
    "powerful majestic intense action-packed suspenseful festive lively cheerful atmospheric heavenly angelic otherworldly "
    "surrealism otherworldliness scenic picturesque idyllic lush storytelling narrative conceptual experimental avant-garde "
    "psychedelia glitch glitchy glitchcore distorted fractal geometric organic textured tactile layered complex simple "
    "simplistic clean crisp cartoony filmic comedic cctv trailcam security"
)

# Tags that stand alone: what the person does, how she is framed, what kind of picture it is, what is no thing.
TAGS = ARTISTS | _phrases(
    "spray paint, art assets, kit bash, hand holding, holding hands, hug, hugging, kiss, kissing, solo, solo focus, duo, "
    "trio, group, couple focus, looking at viewer, looking back, looking away, looking up, looking down, looking to the "
    "side, looking at another, facing viewer, facing away, eye contact, smile, smiling, grin, grinning, smirk, frown, "
    "frowning, blush, blushing, blushed, wink, winking, crying, laughing, laugh, pout, pouting, angry, serious, "
    "expressionless, surprised, scared, shy, embarrassed, happy, sad, smug, seductive smile, light smile, evil smile, "
    "light blush, naughty face, upper body, lower body, full body, full-body, fullbody, half body, half-body, bust shot, "
    "bust, cowboy shot, close up, close-up, closeup, extreme close-up, extreme close up, profile, from above, from below, "
    "from behind, from side, from the side, from front, from afar, dutch angle, wide shot, medium shot, long shot, full "
    "shot, half-length, waist up, waist-up, knees up, chest up, head and shoulders, head shot, headshot, portrait, "
    "self-portrait, standing, sitting, lying, kneeling, squatting, walking, running, jumping, flying, dancing, sleeping, "
    "leaning, leaning forward, crouching, on back, on side, on stomach, all fours, fighting, fighting stance, action "
    "pose, dynamic pose, contrapposto, spread legs, crossed arms, arms up, arm up, arms behind back, hand up, hands up, "
    "arms at sides, arms crossed, back-to-back, back to back, face-to-face, face to face, cheek-to-cheek, side by side, "
    "side-by-side, off shoulder, off-shoulder, heads together, outdoors, indoors, outdoor, indoor, outside, inside, "
    "night, day, daytime, nighttime, evening, morning, dusk, dawn, noon, twilight, golden hour, blue hour, magic hour, "
    "scenery, landscape, still life, simple background, general, sensitive, nsfw, sfw, rating safe, rating explicit, "
    "highres, absurdres, commentary, english text, artist name, signature, watermark, dated, official art, key visual, "
    "concept art, fan art, fanart, ai-generated, tagme, depth of field, rule of thirds, golden ratio, leading lines, "
    "negative space, chromatic aberration, film grain, lens flare, motion blur, long exposure, double exposure, ray "
    "tracing, global illumination, subsurface scattering, ambient occlusion, caustics, post-processing, post processing, "
    "photo-realistic, depth, tilt shift, black and white, black & white, b&w, mixed media, oil on canvas, ink wash, "
    "ukiyo-e, art deco, art nouveau, pop art, high fantasy, dark fantasy, science fiction, sci-fi, film noir, still, film "
    "still, movie still, movie scene, product shot, product photo, product photography, hero shot, establishing shot, "
    "action shot, candid, blade runner, star wars, harry potter, lord of the rings, game of thrones, studio ghibli, "
    "pixar, disney, dreamworks, national geographic, vogue, cover art, album cover, book cover, magazine cover, movie "
    "poster, character design, character sheet, reference sheet, model sheet, multiple views, white frame, border, "
    "letterboxed, t-shirt design, sticker, sticker design, logo, logo design, icon, app icon, clipart, clip art, emoji, "
    "coloring page, colouring page, coloring book, blueprint, diagram, infographic, mascot, tattoo design, wallpaper, "
    "splash art, speedpaint, trending, featured, artstation, deviantart, behance, pinterest, pixiv, cgsociety, zbrush, "
    "instagram, flickr, overcast, sunny, cloudy, rainy, windy, foggy, misty, snowy, stormy, summer, winter, spring, "
    "autumn, fall, halloween, christmas, alone, solo female, solo male, male, female, male focus, female focus, animal "
    "focus, mature, mature female, young, old, adult, teen, elderly, beautiful, pretty, handsome, cute, sexy, hot, "
    "attractive, muscular, slim, skinny, chubby, fat, tall, short, petite, curvy, smoking, eating, drinking, reading, "
    "holding, volumetric fog, volumetric light, volumetric lights, god ray, sun flare, ethereal glow, glow, glowing, "
    "backlight, backlighting, rim light, lowlight, low light, low key, high key, traditional media, sketch, lineart, "
    "monochrome, greyscale, grayscale, spot color, limited palette, flat color, flat colors, muted colors, pastel colors, "
    "vibrant colors, vivid colors, high contrast, league of legends, dungeons and dragons, dungeons & dragons, d&d, dnd, "
    "magic the gathering, world of warcraft, warcraft, final fantasy, dark souls, elden ring, bloodborne, the witcher, "
    "genshin impact, overwatch, spider-verse, cyberpunk 2077, skyrim, warhammer, warhammer 40k, hearthstone, breath of "
    "the wild, character, couple, cosmic horror, arts and crafts movement, sci fi, yuri, yaoi, anthro, feral, beautiful "
    "detailed, 3d, 2d, cg, game cg, unity 8k wallpaper, extremely detailed cg unity 8k wallpaper, perfect face, perfect "
    "eyes, perfect hands, good anatomy, perfect anatomy, intricate, elegant, ornate, sharp, smooth, volumetric, "
    "cinematic, dramatic, epic, moody, dreamy, magical, surreal, color graded, colour graded, color grading, color grade, "
    "colour grading, top down, top-down, topdown, bird's eye, birds eye view, bird's eye view, flat lay, flatlay, "
    "knolling, game asset, fantasy, horror, gothic, cyberpunk, steampunk, vaporwave, synthwave, retro, vintage, kawaii, "
    "chibi, minimalism, minimalist, surrealism"
)

# Verbs and nouns that announce a site, a camera, an artist.
BEGINNINGS = (
    r"(?:trending|featured|popular|posted|published|seen) (?:on|in|at)\b",
    r"(?:shot|taken|captured|filmed|photographed|made|created|rendered|done|drawn|painted|illustrated|designed|directed|"
    r"inspired|modeled|sculpted|sketched) "
    r"(?:on|with|by|in|using|from|for|through|at)\b",
    r"(?:in |with |using )?(?:the |a |an )?(?:art |visual |artistic |painting |drawing )?styles? (?:of|by|reminiscent)\b",
    r"(?:(?:very |extremely |extreme )?(?:shallow|deep|narrow|wide|low) )?depth[ -]of[ -]field\b",
    r"inspired by\b",
    r"(?:[\w-]+ ){0,3}(?:painting|illustration|drawing|artwork|render|sketch)s? (?:made|created|done|painted|drawn) "
    r"(?:with|in|by)\b",
    r"(?:oil|acrylic|tempera|ink|watercolou?r|pastel|charcoal|gouache) on (?:canvas|panel|wood|board|paper|linen|copper)\b",
    r"(?:[\w-]+ ){0,4}lighting (?:creating|casting|highlighting|giving|adding|that|which|with|from|on|emphasizing|accentuating|"
    r"illuminating)\b",
    r"reminiscent of\b",
    r"as (?:if )?(?:painted|drawn|illustrated|rendered|shot) by\b",
    r"(?:art|artwork|photo|photograph|photography|painting|painted|illustration|drawing|concept art|digital art|design|"
    r"designed|render|rendered|sculpture|image|work|character design|"
    r"anime|film|movie|directed)s? (?:by|from)\b(?! (?:a|an|the)\b)",
    r"(?:\d+mm )?(?:film|movie|anime|cinematic|video game|game|tv) (?:still|screenshot|scene|screencap)s? (?:from|of)\b"
    r"(?! (?:a|an|the)\b)",
    r"by (?!the\b|a\b|an\b|his\b|her\b|its\b|their\b|\d)",
    r"(?:canon|nikon|sony|fujifilm|fuji|leica|kodak|hasselblad|arri|arriflex|panavision|gopro|iphone|pentax|olympus|"
    r"panasonic|zeiss|sigma|tamron|ilford|cinestill|agfa|lomography|mamiya|rolleiflex|dji) ?"
    r"(?!.*\b(?:camera|phone|jacket|shirt|drone)$)",
    r"(?:rating|source|score|quality|year|artist|style|meta|series|medium|camera|lighting|mood|resolution|aspect ratio|"
    r"negative)[ :_]+[\w. ]+$",
    r"(?:seen|viewed|view|shot|taken|photographed) from\b(?! (?:a|an) \w+ (?:window|car|plane|ship|boat))",
    r"from (?:a |an )?(?:above|below|behind|afar|distance|the side|the front|the back|low angle|high angle|bird|side|"
    r"front)\b",
    r"(?:ultra |super |extreme |medium |extra )?(?:wide|low|high|medium|close|eye|dutch|bird|worm|tilted|canted|over the|"
    r"extreme|full|half|long)[ -]?(?:angle|up|level|eye|shoulder|shot|body)?(?: (?:angle|shot|view|up|lens|level|body|"
    r"portrait|photo|photograph))+$",
    r"(?:in|on) (?:the )?(?:artstation|deviantart|behance|pinterest|pixiv|cgsociety|instagram|flickr|focus|motion|action|"
    r"frame|background|foreground|4k|8k|hd)$",
    r"(?:high|ultra|very|highly|extremely|super|insanely|incredibly|hyper|intricately|finely|beautifully|so|ultra-|"
    r"hyper-)\s?(?:detailed|realistic|intricate|sharp|quality|hd|textured|complex|ornate|aesthetic|defined|resolution|"
    r"beautiful)\b(?: (?:and|with)\b.*)?$",
    r"(?:high|ultra|extreme|super|hyper|max)[ -]?(?:details?|res|realism|quality)$",
)
# Programs that make pictures: a tag that begins with one names no thing unless it goes on with other words.
PROGRAMS = (
    r"(?:unreal|octane|v-ray|vray|redshift|cinema ?4d|blender|zbrush|maya|unity|cryengine|houdini|povray|substance|marmoset|"
    r"keyshot|quixel|nvidia|photoshop|lightroom|procreate)\b"
)
MEASURES = (
    r"^\d+ dimensional$",
    r"\bf ?/ ?\d",
    r"\bf\d\.\d",
    r"\biso ?\d+",
    r"\b\d+(?:\.\d+)? ?mm\b",
    r"^\d+(?:\.\d+)?k\b",
    r"\b\d+ ?(?:fps|dpi|px|bit|megapixels?|mp)\b",
    r"\b\d+-bit\b",
    r"^1/\d+",
    r"\bscore \d",
    r"^\d{3,4} ?x ?\d{3,4}$",
    r"^\d+:\d+$",
    r"^\d+(?:\.\d+)?$",
    r"^\d+ ?(?:years?|yo|y\.?o\.?)(?: old)?$",
    r"^\d+-year-old$",
    r"^(?:circa|c\.) ?\d{4}",
    r"^(?:year )?(?:19|20)\d\ds?$",
)
# Endings of words for movements and looks: cottagecore, cyberpunk, cubism, vaporwave.
ENDINGS = ("core", "punk", "wave", "ism", "esque", "listic", "delic")
