"""Sentences checked by hand, one for each rule of agreement."""

import pytest

from crossflare.tasks.phrasebook.grammar import Choice, Word, inflect_adjective, phrase_words, render, templates


def word(english: str, kind: str = "adjective") -> Word:
    return next(one for one in phrase_words() if one.kind == kind and one.forms["en"] == english)


def say(start: str, noun: str, *adjectives: str, very: str = "", **fillers: str) -> list[str]:
    template = next(one for one in templates() if one.texts["en"].startswith(start))
    filled = {slot: word(english, "verb" if slot == "v" else slot) for slot, english in fillers.items()}
    intensifier = word(very, "intensifier") if very else None
    choice = Choice(word(noun, "noun"), tuple(map(word, adjectives)), intensifier, filled)
    return [render(template, choice, language) for language in ("en", "es", "id", "sw")]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            say("The {n} is {i} {a}.", "film", "good", very="very"),
            [
                "The film is very good.",
                "La película es muy buena.",
                "Film ini sangat bagus.",
                "Filamu hii ni nzuri sana.",
            ],
        ),
        (
            say("That {n} was", "bus", "noisy"),
            ["That bus was noisy.", "Ese autobús era ruidoso.", "Bus itu bising.", "Basi lile lilikuwa la kelele."],
        ),
        (
            say("It is a(n)", "chair", "elegant"),
            ["It is an elegant chair.", "Es una silla elegante.", "Ini kursi yang anggun.", "Ni kiti maridadi."],
        ),
        (
            say("It is a(n)", "book", "useful", very="extremely"),
            [
                "It is an extremely useful book.",
                "Es un libro sumamente útil.",
                "Ini buku yang amat berguna.",
                "Ni kitabu cha manufaa mno.",
            ],
        ),
        (
            say("A(n) {a}", "book", "useful"),
            [
                "A useful book, there is nothing more to say.",
                "Un libro útil, no hay nada más que decir.",
                "Buku yang berguna, tidak ada lagi yang perlu dikatakan.",
                "Kitabu cha manufaa, hakuna zaidi la kusema.",
            ],
        ),
        (
            say("The {n} that I chose", "bread", "tasty", very="really"),
            [
                "The bread that I chose was really tasty.",
                "El pan que elegí era realmente sabroso.",
                "Roti yang saya pilih sungguh enak.",
                "Mkate niliouchagua ulikuwa wenye ladha kweli.",
            ],
        ),
        (
            say("The {n} near the {place} is {i} {a}.", "restaurant", "bad", place="market"),
            [
                "The restaurant near the market is bad.",
                "El restaurante cerca del mercado es malo.",
                "Restoran di dekat pasar buruk.",
                "Mgahawa karibu na soko ni mbaya.",
            ],
        ),
        (
            say("The {n} is near", "school", place="station"),
            [
                "The school is near the station.",
                "La escuela está cerca de la estación.",
                "Sekolah ini ada di dekat stasiun.",
                "Shule hii iko karibu na stesheni.",
            ],
        ),
        (
            say("My friends bought", "car", "red", month="May"),
            [
                "My friends bought this red car in May.",
                "Mis amigos compraron este coche rojo en mayo.",
                "Kawan saya membeli mobil yang merah ini bulan Mei.",
                "Marafiki zangu walinunua gari hili jekundu mwezi wa Mei.",
            ],
        ),
        (
            say("The {n} {v}.", "concert", v="disappointed me"),
            [
                "The concert disappointed me.",
                "El concierto me decepcionó.",
                "Konser ini mengecewakan saya.",
                "Tamasha hili lilinikatisha tamaa.",
            ],
        ),
        (
            say("On {day} the {n} leaves", "train", day="Sunday", place="port"),
            [
                "On Sunday the train leaves from the port.",
                "El domingo el tren sale del puerto.",
                "Hari Minggu kereta itu berangkat dari pelabuhan.",
                "Siku ya Jumapili treni ile inaondoka kutoka bandari.",
            ],
        ),
        (
            say("The {n} contains", "food", ingredient="honey"),
            [
                "The food contains honey.",
                "La comida contiene miel.",
                "Makanan ini mengandung madu.",
                "Chakula hiki kina asali.",
            ],
        ),
    ],
)
def test_sentences_agree(found: list[str], expected: list[str]) -> None:
    assert found == expected


@pytest.mark.parametrize(
    ("english", "film", "bread", "car", "chair"),
    [
        ("good", "nzuri", "mzuri", "zuri", "kizuri"),
        ("bad", "mbaya", "mbaya", "baya", "kibaya"),
        ("black", "nyeusi", "mweusi", "jeusi", "cheusi"),
        ("filthy", "chafu", "mchafu", "chafu", "kichafu"),
        ("excellent", "bora", "bora", "bora", "bora"),
        ("pleasant", "ya kupendeza", "wa kupendeza", "la kupendeza", "cha kupendeza"),
        ("toxic", "yenye sumu", "wenye sumu", "lenye sumu", "chenye sumu"),
    ],
)
def test_swahili_adjectives_take_the_class_of_the_noun(
    english: str, film: str, bread: str, car: str, chair: str
) -> None:
    nouns = [word(noun, "noun") for noun in ("film", "bread", "car", "chair")]
    assert [inflect_adjective(word(english), noun, "sw") for noun in nouns] == [film, bread, car, chair]


@pytest.mark.parametrize(
    ("english", "masculine", "feminine"),
    [
        ("good", "bueno", "buena"),
        ("elegant", "elegante", "elegante"),
        ("special", "especial", "especial"),
        ("charming", "encantador", "encantadora"),
        ("Japanese", "japonés", "japonesa"),
        ("German", "alemán", "alemana"),
        ("brown", "marrón", "marrón"),
        ("blue", "azul", "azul"),
    ],
)
def test_spanish_adjectives_take_the_gender_of_the_noun(english: str, masculine: str, feminine: str) -> None:
    found = [inflect_adjective(word(english), word(noun, "noun"), "es") for noun in ("hotel", "house")]
    assert found == [masculine, feminine]


def test_every_template_has_the_same_slots_in_every_language() -> None:
    """Apart from the forms that agreement adds, a slot filled in one language is filled in all."""
    free = ("{a}", "{b}", "{i}", "{v}", "{place}", "{day}", "{month}", "{hour}", "{material}", "{ingredient}")
    for template in templates():
        for slot in free:
            assert len({text.count(slot) for text in template.texts.values()}) == 1, (slot, template)
