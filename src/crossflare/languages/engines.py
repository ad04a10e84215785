"""The translation models' codes for languages, besides FLORES and M2M-100; and the language that a wide tag means."""

MADLAD = (
    "abt ace ace_Arab acf ada adh ady af agr ahk ak akb alt alz am amu an ang ann ape ar arn ary arz as av awa ay"
    " az az_RU ba ban bar bas bbc bci be ber ber_Latn bew bg bg_Latn bgp bho bi bik bim bjn bjn_Arab bm bn bn_Latn"
    " bo bqc br bru brx bs bts btx bua bug bum bus bzj ca cab cac cak cbk cce ce ceb cfm ch chk chm chr ckb cnh co"
    " cr_Latn crh crh_Latn crs cs ctd_Latn ctu cuk cv cy da de din dje djk dln doi dov dtp dv dwr dyu dz ee el"
    " el_Latn emp en enq eo es et eu fa ff ffm fi fil fip fj fo fon fr fr_CA frp fur fuv fy ga gag gbm gd gl gn gof gom"
    " gom_Latn gor grc gsw gu gu_Latn gub guc guh gui gv gvl gym ha haw he hi hi_Latn hif hil hmn hne ho hr ht hu hui"
    " hus hvn hy iba ibb id ify ig ilo inb io is iso it iu ium izz ja jac jam jiv jv jvn ka kaa kaa_Latn kac kbd kbp"
    " kek kg kha kj kjg kjh kk kl km kmb kmz_Latn kn kn_Latn knj ko koi kos kr kr_Arab krc kri ks ks_Deva ksd ksw"
    " ktu ku kum kv kw kwi ky la laj lb lg lhu li lij lmo ln lo lrc lt ltg lu lus lv mad mag mai mak mam mas mass"
    " maz mbt mdf meo meu mfe mg mgh mh mi min miq mk mkn ml ml_Latn mn mni mps mqy mr mrj mrw ms ms_Arab ms_Arab_BN"
    " msb msi msm mt mwl my myv nan_Latn_TW ndc_ZW nds nds_NL ne new ngu nhe nia nij niq nl nn nnb no noa nog nr nso"
    " nus nut nv ny nyu nzi oc oj om or os otq pa pag pap pau pck pis pl pon ppk prs ps pt qu qub quc quf quh qup"
    " quy qvc qvi qvz qxr raj rcf rki rm rmc rn ro rom ru ru_Latn rw rwo sa sah sat_Latn sc scn sd sda se seh sg sh"
    " shn shp si sja sk skr sl sm smt sn so spp sq sr srm srn ss st stq su sus suz sv sw sxn syr szl ta ta_Latn tab"
    " taj taq taq_Tfng tbz tca tcy tdx te te_Latn teo tet tg th ti tiv tk tks tlh tll tly_IR tn to toj tr trp ts tsc"
    " tsg tt tuc tvl twu tyv tyz tzh tzj tzm tzo ubu udm ug uk ur uz ve vec vi wa wal war wo wuu xal xh yap yi yo"
    " yua zap zh zh_Hant zh_Latn zne zu zza"
)
"""The languages that MADLAD-400's models have a token `<2xx>` for."""

MADLAD_NAMES: dict[str, str | None] = {
    "nb": "no",
    "crh": "crh_Latn",
    "qu": "quy",
    "ff": "fuv",
    "tzm": None,  # MADLAD does not state its script
    "mni": None,
    "sat": None,
}
"""Tags whose MADLAD code differs from the tag; None: no code of MADLAD's is known to mean the tag's script."""

MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP"
    " nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN"
    " mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
"""The language tokens of mBART-50."""

MBART_NAMES = {"fil": "tl_XX", "zh-Hant": None}
"""Tags whose mBART-50 token begins with another code; None: mBART-50 does not have the language."""

MARIAN_NAMES = {
    "ar": ("ara", "arb"),
    "zh": ("zho", "cmn_Hans", "cmn", "zho_Hans"),
    "zh-Hant": ("cmn_Hant", "zho_Hant"),
    "yue": ("yue_Hant", "yue_Hans"),
    "nb": ("nb", "nor", "nob"),
    "sr": ("srp_Cyrl", "srp"),
    "sr-Latn": ("srp_Latn",),
    "ms": ("msa", "zsm_Latn", "zlm_Latn"),
    "ku": ("kmr_Latn", "kur_Latn"),
    "uz": ("uzb", "uzb_Latn"),
    "az": ("aze", "aze_Latn"),
    "bs": ("bos_Latn", "bos"),
    "id": ("ind",),
    "fil": ("tl", "tgl_Latn", "fil_Latn"),
}
"""Codes in `>>code<<` tokens of OPUS-MT models, besides the tag and its ISO 639-3 codes, for the same language."""

WIDE = {
    "ar": ("Modern Standard Arabic (arb)", "acm, acq, aeb, ajp, apc, ars, ary, arz"),
    "az": ("North Azerbaijani (azj)", "azb"),
    "fa": ("Iranian Persian (pes)", "prs"),
    "ff": ("Nigerian Fulfulde (fuv)", "fuc, fuf, ffm"),
    "kr": ("Central Kanuri (knc)", "kr-Arab, kby"),
    "ku": ("Northern Kurdish, Kurmanji (kmr)", "ckb"),
    "lv": ("Standard Latvian (lvs)", "ltg"),
    "ms": ("Standard Malay (zsm)", "id, min, bjn"),
    "nb": ("Norwegian Bokmål (nob)", "nn"),
    "qu": ("Ayacucho Quechua (quy)", "quz, quh, qub"),
    "zh": ("Mandarin in simplified characters (cmn, Hans)", "zh-Hant, yue"),
}
"""Tags that may mean several languages -> the language that they mean here, and the tags to write for others."""
