"""Words that name nothing to see: articles, pronouns, conjunctions, common prepositions and auxiliary verbs.

Words that place things, such as "under" or "behind", are not among them, and none that names a thing in another of
these languages, such as "van", "man" and "hat". The lists cover the languages of the
multilingual sentence model that write spaces and have such words.
"""

from __future__ import annotations

FUNCTION_WORDS = {
    "en": """a an the of in on at to into onto with without by for from as and or but nor so than then that this
        these those there here is are was were be been being am has have had having do does did doing
        will would can could shall should may might must it its itself he him his she her hers they them
        their theirs we us our you your i me my who whom whose which what where when while if not no
        some any each every both other another such same too also very just more most own""",
    "de": """ein eine einen einem einer eines der die das den dem des und oder aber in im ins an am ans auf zu zum
        zur von vom für mit ohne bei beim aus als wie ist sind waren sein seine seiner seinem seinen
        seines ihr ihre ihrer ihrem ihren ihres haben hatte hatten wird werden wurde wurden kann er
        sie es ihn ihm ihnen sich dieser diese dieses diesem diesen dass während wenn nicht kein keine
        keinen auch noch nur so da wo welche welcher""",
    "fr": """un une le la les l d de du des et ou avec sans dans en sur à au aux par chez est sont était étaient
        être a ont avait ayant qui que quoi dont où ce cet cette ces sa ses leur leurs mon ma mes il
        elle ils elles on lui se s y ne n pas plus très aussi tandis lorsque""",
    "es": """un una unos unas el la los las lo de del al a y e o u pero con sin en por para es está están era eran
        ser estar ha han que quien cual cuyo donde cuando mientras este esta estos estas ese esa su sus
        mi mis él ella ellos ellas se le les no muy también más""",
    "it": """un uno una il lo la i gli le l di del dello della dei degli delle a al allo alla ai agli alle da dal
        dalla in nel nello nella nei nelle su sul sullo sulla con senza per e ed o ma è sono era erano
        ha hanno che chi cui dove mentre questo questa questi queste suo sua suoi sue si non molto anche
        più""",
    "pt": """um uma uns umas o a os as de do da dos das em no na nos nas ao à aos às por para com sem e ou mas é são
        está estão era eram ser tem têm que quem onde enquanto este esta estes estas seu sua seus suas
        se não muito também""",
    "nl": """een de het in op aan met zonder bij voor uit naar en of maar is zijn was waren wordt worden heeft hebben
        had die dat deze dit wie wat waar terwijl hij zij ze hun er zich niet geen ook zeer als te
        om""",
    "pl": """i oraz lub albo ale w we na z ze do od dla przez o u po jest są był była było były się to ta te który
        która które jego jej ich nie też""",
    "ru": """и или но а в во на с со к у о об от для из по до при это этот эта эти он она они его её их который
        которая которые не был была были есть""",
    "tr": """bir ve veya ama ile için de da bu şu o var ki""",
}

_ALL = frozenset(word for words in FUNCTION_WORDS.values() for word in words.split())


def is_function_word(word: str) -> bool:
    """Whether a word, in any case, names nothing to see in one of the languages; so does one without a letter."""
    return word.lower().strip("'’") in _ALL or not any(character.isalnum() for character in word)
