"""The languages that crossflare knows by name: those of NLLB-200 (FLORES-200), and others with data or an engine.

One line each: tag, FLORES code (`-`: not in NLLB), English name. The tag is the shortest BCP-47 form; the name in
brackets says which member a language with several members means.
"""

TABLE = """
ace ace_Latn Acehnese
ace-Arab ace_Arab Acehnese (Arabic script)
acm acm_Arab Arabic (Mesopotamian)
acq acq_Arab Arabic (Ta'izzi-Adeni)
aeb aeb_Arab Arabic (Tunisian)
af afr_Latn Afrikaans
ajp ajp_Arab Arabic (South Levantine)
ak aka_Latn Akan
am amh_Ethi Amharic
apc apc_Arab Arabic (North Levantine)
ar arb_Arab Arabic (Modern Standard)
ars ars_Arab Arabic (Najdi)
ary ary_Arab Arabic (Moroccan)
arz arz_Arab Arabic (Egyptian)
as asm_Beng Assamese
ast ast_Latn Asturian
awa awa_Deva Awadhi
ay ayr_Latn Aymara (Central)
azb azb_Arab Azerbaijani (South)
az azj_Latn Azerbaijani (North)
ba bak_Cyrl Bashkir
bm bam_Latn Bambara
ban ban_Latn Balinese
be bel_Cyrl Belarusian
bem bem_Latn Bemba
bn ben_Beng Bengali
bho bho_Deva Bhojpuri
bjn bjn_Latn Banjarese
bjn-Arab bjn_Arab Banjarese (Arabic script)
bo bod_Tibt Tibetan
bs bos_Latn Bosnian
bug bug_Latn Buginese
bg bul_Cyrl Bulgarian
ca cat_Latn Catalan
ceb ceb_Latn Cebuano
cs ces_Latn Czech
cjk cjk_Latn Chokwe
ckb ckb_Arab Kurdish (Central, Sorani)
crh crh_Latn Crimean Tatar
cy cym_Latn Welsh
da dan_Latn Danish
de deu_Latn German
din dik_Latn Dinka (Southwestern)
dyu dyu_Latn Dyula
dz dzo_Tibt Dzongkha
el ell_Grek Greek
en eng_Latn English
eo epo_Latn Esperanto
et est_Latn Estonian
eu eus_Latn Basque
ee ewe_Latn Ewe
fo fao_Latn Faroese
fa pes_Arab Persian (Iranian)
prs prs_Arab Dari
fj fij_Latn Fijian
fi fin_Latn Finnish
fon fon_Latn Fon
fr fra_Latn French
fur fur_Latn Friulian
ff fuv_Latn Fula (Nigerian)
gd gla_Latn Scottish Gaelic
ga gle_Latn Irish
gl glg_Latn Galician
gn grn_Latn Guarani
gu guj_Gujr Gujarati
ht hat_Latn Haitian Creole
ha hau_Latn Hausa
he heb_Hebr Hebrew
hi hin_Deva Hindi
hne hne_Deva Chhattisgarhi
hr hrv_Latn Croatian
hu hun_Latn Hungarian
hy hye_Armn Armenian
ig ibo_Latn Igbo
ilo ilo_Latn Ilocano
id ind_Latn Indonesian
is isl_Latn Icelandic
it ita_Latn Italian
jv jav_Latn Javanese
ja jpn_Jpan Japanese
kab kab_Latn Kabyle
kac kac_Latn Jingpho
kam kam_Latn Kamba
kn kan_Knda Kannada
ks kas_Arab Kashmiri
ks-Deva kas_Deva Kashmiri (Devanagari script)
ka kat_Geor Georgian
kr knc_Latn Kanuri (Central)
kr-Arab knc_Arab Kanuri (Central, Arabic script)
kk kaz_Cyrl Kazakh
kbp kbp_Latn Kabiye
kea kea_Latn Kabuverdianu
km khm_Khmr Khmer
ki kik_Latn Kikuyu
rw kin_Latn Kinyarwanda
ky kir_Cyrl Kyrgyz
kmb kmb_Latn Kimbundu
kg kon_Latn Kikongo
ko kor_Hang Korean
ku kmr_Latn Kurdish (Northern, Kurmanji)
lo lao_Laoo Lao
lv lvs_Latn Latvian (Standard)
lij lij_Latn Ligurian
li lim_Latn Limburgish
ln lin_Latn Lingala
lt lit_Latn Lithuanian
lmo lmo_Latn Lombard
ltg ltg_Latn Latgalian
lb ltz_Latn Luxembourgish
lua lua_Latn Luba-Kasai
lg lug_Latn Ganda
luo luo_Latn Luo
lus lus_Latn Mizo
mag mag_Deva Magahi
mai mai_Deva Maithili
ml mal_Mlym Malayalam
mr mar_Deva Marathi
min min_Latn Minangkabau
mk mkd_Cyrl Macedonian
mg plt_Latn Malagasy (Plateau)
mt mlt_Latn Maltese
mni mni_Beng Meitei
mn khk_Cyrl Mongolian (Halh)
mos mos_Latn Mossi
mi mri_Latn Maori
ms zsm_Latn Malay (Standard)
my mya_Mymr Burmese
nl nld_Latn Dutch
nn nno_Latn Norwegian Nynorsk
nb nob_Latn Norwegian Bokmål
ne npi_Deva Nepali
nso nso_Latn Northern Sotho
nus nus_Latn Nuer
ny nya_Latn Nyanja
oc oci_Latn Occitan
om gaz_Latn Oromo (West Central)
or ory_Orya Odia
pag pag_Latn Pangasinan
pa pan_Guru Punjabi (Eastern)
pap pap_Latn Papiamento
pl pol_Latn Polish
pt por_Latn Portuguese
ps pbt_Arab Pashto (Southern)
qu quy_Latn Quechua (Ayacucho)
ro ron_Latn Romanian
rn run_Latn Rundi
ru rus_Cyrl Russian
sg sag_Latn Sango
sa san_Deva Sanskrit
sat-Beng sat_Beng Santali (Bengali script)
sat - Santali
scn scn_Latn Sicilian
shn shn_Mymr Shan
si sin_Sinh Sinhala
sk slk_Latn Slovak
sl slv_Latn Slovenian
sm smo_Latn Samoan
sn sna_Latn Shona
sd snd_Arab Sindhi
so som_Latn Somali
st sot_Latn Southern Sotho
es spa_Latn Spanish
sq als_Latn Albanian (Tosk)
sc srd_Latn Sardinian
sr srp_Cyrl Serbian
sr-Latn - Serbian (Latin script)
ss ssw_Latn Swati
su sun_Latn Sundanese
sv swe_Latn Swedish
sw swh_Latn Swahili
szl szl_Latn Silesian
ta tam_Taml Tamil
tt tat_Cyrl Tatar
te tel_Telu Telugu
tg tgk_Cyrl Tajik
fil tgl_Latn Tagalog
th tha_Thai Thai
ti tir_Ethi Tigrinya
taq taq_Latn Tamasheq
taq-Tfng taq_Tfng Tamasheq (Tifinagh script)
tpi tpi_Latn Tok Pisin
tn tsn_Latn Tswana
ts tso_Latn Tsonga
tk tuk_Latn Turkmen
tum tum_Latn Tumbuka
tr tur_Latn Turkish
tw twi_Latn Twi
tzm tzm_Tfng Central Atlas Tamazight
ug uig_Arab Uyghur
uk ukr_Cyrl Ukrainian
umb umb_Latn Umbundu
ur urd_Arab Urdu
uz uzn_Latn Uzbek (Northern)
vec vec_Latn Venetian
vi vie_Latn Vietnamese
war war_Latn Waray
wo wol_Latn Wolof
xh xho_Latn Xhosa
yi ydd_Hebr Yiddish (Eastern)
yo yor_Latn Yoruba
yue yue_Hant Cantonese
zh zho_Hans Chinese (Simplified)
zh-Hant zho_Hant Chinese (Traditional)
zu zul_Latn Zulu
an - Aragonese
arq - Arabic (Algerian)
bbc - Toba Batak
bbj - Ghomala
br - Breton
bzd - Bribri
ce - Chechen
chr - Cherokee
cni - Ashaninka
co - Corsican
cv - Chuvash
dsb - Lower Sorbian
dv - Dhivehi
frp - Arpitan
fy - Western Frisian
gom - Goan Konkani
gv - Manx
haw - Hawaiian
hch - Huichol
hil - Hiligaynon
hsb - Upper Sorbian
iu - Inuktitut
kl - Kalaallisut
kv - Komi
kw - Cornish
la - Latin
mad - Madurese
mdf - Moksha
myv - Erzya
nah - Nahuatl
nds - Low German
nij - Ngaju
nv - Navajo
os - Ossetian
oto - Otomi
pcm - Nigerian Pidgin
rm - Romansh
sah - Yakut
se - Northern Sami
shp - Shipibo-Konibo
tar - Tarahumara
to - Tongan
ty - Tahitian
udm - Udmurt
wa - Walloon
""".strip()

M2M = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy"
    " id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru"
    " sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
)
"""The language codes of M2M-100."""

M2M_NAMES = {"nb": "no", "nso": "ns", "fil": "tl"}
"""Tags whose M2M-100 code differs from the tag."""

APERTIUM_NAMES = {
    "hr": "hbs",
    "bs": "hbs",
    "sr-Latn": "hbs",
    "sr": None,
    "ms": "zlm",
    "zh-Hant": None,
    "fil": "tgl",
    "prs": None,
}
"""Tags whose Apertium code is not their ISO 639-3 code; None: Apertium reads another script."""

ALIASES = {
    "no": "nb",
    "nor": "nb",
    "nb-NO": "nb",
    "tl": "fil",
    "twi": "tw",
    "fuv": "ff",
    "quy": "qu",
    "pbt": "ps",
    "fa-AF": "prs",
    "prs-AF": "prs",
    "kmr": "ku",
    "dik": "din",
    "knc": "kr",
    "gug": "gn",
    "swa": "sw",
    "cmn": "zh",
    "zh-Hani": "zh",
    "cmn-Hani": "zh",
    "yue-Hani": "yue",
    "arabic": "ar",
    "azerbaijani": "az",
    "kurdish": "ku",
    "farsi": "fa",
    "mandarin": "zh",
    "chinese": "zh",
    "filipino": "fil",
    "kiswahili": "sw",
    "norwegian": "nb",
    "burmese": "my",
    "myanmar": "my",
    "oriya": "or",
    "panjabi": "pa",
    "banjar": "bjn",
    "batak toba": "bbc",
    "flemish": "nl",
    "sinhalese": "si",
    "sorani": "ckb",
    "kurmanji": "ku",
    "dhivehi": "dv",
    "sesotho": "st",
    "sepedi": "nso",
    "setswana": "tn",
    "chichewa": "ny",
    "chewa": "ny",
    "luganda": "lg",
    "bokmal": "nb",
    "nynorsk": "nn",
}
"""Other ways to write a tag or a name (names in lower case) that langcodes does not know."""

MEMBERS = frozenset({"fat", "fuc", "pbu", "quz", "tw", "twi"})
"""Members of a macrolanguage that means another member here: CLDR would turn their tags into the macrolanguage's."""

SCRIPTS = {"Kore": "Hang"}
"""Scripts that have another name in FLORES."""

PRIVATE = ("qaa", "qtz")
"""ISO 639's range of codes for private use: never a real language; the laboratory's languages have such codes."""
