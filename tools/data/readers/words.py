"""Words in the file names of medical images: label maps, modalities, sessions and subjects."""

from __future__ import annotations

import re

_SEPARATOR = re.compile(r"[\W_]+")
_WORD = re.compile(r"([\W_]*)([^\W_]+)")
_DIGITS = re.compile(r"\d+")
#: words for a label map
_LABEL = re.compile(
    r"labels?|labelmaps?|labels(tr|ts|va|val|tst)|[dw]?segs?|msk|lbls?|gtv[a-z]*|segm|segmentations?|masks?|\w+masks?|gt|ground|"
    r"groundtruth|truth|annotations?|annot|contours?|delineations?|parcellations?|parc|aparc|aseg|wmhs?|"
    r"dl(muse|wmls|icv)",
    re.IGNORECASE,
)
#: first words of names such as ``seg_patient01``
_LEADING_LABEL = re.compile(r"labels?|labelmaps?|segs?|segmentations?|masks?|gt", re.IGNORECASE)
#: masks of the imaged region, not of a structure
_REGION_MASK = re.compile(
    r"(?<![^\W_])(brain|bet|face|defaced?|defacing|anon|fov|foreground)[\W_]*masks?(?![^\W_])",
    re.IGNORECASE,
)
#: last words of the names of continuous maps, such as probabilities and deformations
_MAP = (
    r"(prob(abilit(y|ies)|s|seg)?|(prob(ability)?|dist(ance)?|heat)[\W_]?maps?|softmax|logits?|pve(seg)?|posteriors|"
    r"uncertainty|entropy|distance|sdf|sdm|dvf|ddf|displacement|(inverse|inv)?[\W_]?warp|jacobian(s|det)?|"
    r"bias[\W_]?field\w*|(warp|deformation|displacement)[\W_]?field|pred(s|icted|ictions?)?|voided|rt[\W_]?dose)"
)
_DOSE = r"(?<!low)(?<!full)(?<!half)(?<!high)(?<!normal)(?<!quarter)(?<!reduced)(?<!standard)[\W_]dose"
_DERIVED = re.compile(rf"(^{_MAP}|^dose|^pve[\W_]?\d|(?<=[\W_]){_MAP}[\W_\d]*|{_DOSE}[\W_\d]*)$", re.IGNORECASE)
_DERIVED_FOLDER = re.compile(r"xfms?|warps?|prob(s|maps|abilities)|predictions?|preds|heatmaps", re.IGNORECASE)
#: tissue maps and deformations of SPM: ``c1T1``, ``mwp1T1``, ``y_T1``
_SPM = re.compile(r"s?m?w?r?[cp][0-6](?=[A-Za-z])|i?y_")
#: BIDS folder of processing results
DERIVATIVES = "derivatives"

_MODALITY = re.compile(
    r"t[12](w|c|ce|gd|n|f|post|star|map|wi|tse|gre|spc|space|mprage)?|t2s|flair|fl|pdw?|dwi|dti|adc|swi|asl|bold|mra?|"
    r"mri|ct|cta|ctp|cbct|pt|pet|petct|suv|spect|us|mp2?rage|fspgr|spgr|gre|epi|tof|cine|lge|b(0|50|[1-9]\d?00)|trace|hbv|"
    r"ce|gd|pre|post|contrast|arterial|venous|portal|delayed|nce|cect|ncct|tra|sag|cor|ax|axial|sagittal|coronal|"
    r"inv\d?|unit1|magn?|magnitude|phase|part|anat|func|perf|fmap",
    re.IGNORECASE,
)
_IMAGE = re.compile(
    r"images?|images(tr|ts|va|val)|imgs?|imaging|volumes?|vols?|scans?|data|raw|org|orig(inal)?|nii|nifti|dicom|dcm|"
    r"resampled|norm(ali[sz]ed)?|n4|bfc|stripped|skullstripped|bet|preproc(essed)?|reg(istered)?|\d+(mm|iso)",
    re.IGNORECASE,
)
_SESSION = re.compile(
    r"ses\w*|sessions?\d*|visits?\d*|v\d+|tp\d*|timepoints?\d*|baseline|bl|follow|followup|fu\d*|frame\d*|fr\d+|run\d*|"
    r"echo\d*|acq\d*|rep\d*|scan\d+|slices?\d*|(im|img|image|slice|series|ser)\d+|series|[mdy]\d+|day\d*|weeks?\d*|"
    r"months?\d*|years?\d*|\d+[dmy]|(19|20)\d{6}|4d|left|right|l|r|od|os|lh|rh",
    re.IGNORECASE,
)
_COLLECTION = re.compile(
    r"(train(ing)?|val(id(ation)?)?|test(ing)?|split|fold|batch|parts?|sites?|cent(er|re)s?|hospitals?|clinics?|"
    r"cohorts?|sets?|subsets?|datasets?|tasks?|studies|dis[ck]s?|groups?|grades?|class(es)?|arms?|hgg|lgg|dev|release|"
    r"(raw|training|validation|test)data)\d*",
    re.IGNORECASE,
)
#: sites and cohorts; equal patient numbers in two of them are different patients
_POPULATION = re.compile(
    r"(sites?|cent(er|re)s?|hospitals?|clinics?|cohorts?|ds|datasets?)[-_ ]?([A-Z]?\d+|[A-Z])(_\w+)?", re.IGNORECASE
)
#: words for a scanner, a study wave, a year or a breathing phase
_GROUP = re.compile(r"[a-z]*\d+T|T\d+|mri?\d+|ct\d+|wave\d*|exam\d*|round\d*|(19|20)\d\d|(0|[1-9]\d?)kv", re.IGNORECASE)
_LETTER_AND_DIGIT = re.compile(r"[A-Za-z]\d")
_DATE = re.compile(r"(?<!\d)(19|20)\d\d([-_.]?)(0[1-9]|1[0-2])\2([0-2]\d|3[01])(?!\d)")
_PART = re.compile(r"(?:images|labels)(tr|ts|va|val|tst)", re.IGNORECASE)
#: data set folders of nnU-Net and the Decathlon
_NUMBERED_SET = re.compile(r"(dataset|task)_?\d+_", re.IGNORECASE)
#: words before "labels" or "mask" in the names of label folders
_QUALIFIER = re.compile(r"manual|expert|consensus|lesions?|tumou?rs?|organs?|ground|reference|ref|\d+", re.IGNORECASE)
_PLURAL = re.compile(r"labels(tr|ts|va|val|tst)?|masks|segs|segmentations|annotations|contours", re.IGNORECASE)
_SUBJECT = re.compile(
    r"(?<![^\W_])((?:sub|subj|subject|pat|patient|participant|case|person|volunteer|donor)[-_ ]?[a-z]{0,3}\d+[a-z]?)"
    r"(?![^\W_])",
    re.IGNORECASE,
)
_BIDS_SUBJECT = re.compile(r"sub-[0-9A-Za-z]+")


def split_words(name: str) -> list[str]:
    """Split a name into words of letters and digits."""
    return [word for word in _SEPARATOR.split(name) if word]


def is_label_map_name(name: str) -> bool:
    """Return whether a file name (without suffix) or folder name indicates a label map.

    The last word that is not a number is decisive (``ct_seg``, ``label0001``, ``case.seg``), or the first word if the
    name has a number (``seg_patient01``).
    """
    parts = [word for word in (_DIGITS.sub("", word) for word in split_words(name)) if word]
    if not parts:
        return False
    if _LABEL.fullmatch(parts[-1]):
        return True
    return _LEADING_LABEL.fullmatch(parts[0]) is not None and _DIGITS.search(name) is not None


def is_label_folder_name(name: str) -> bool:
    """Return whether a folder name indicates a label folder: ``labelsTr``, ``train_labels``, ``wmh``.

    A singular after other words is not accepted, since data sets have such names (``liver_segmentation``).
    """
    *first, last = split_words(name) or [""]
    if _PLURAL.fullmatch(last):
        return True
    known = (_QUALIFIER, _COLLECTION, _LABEL)
    return _LABEL.fullmatch(last) is not None and all(any(one.fullmatch(word) for one in known) for word in first)


def is_label_map_path(path: str) -> bool:
    """Return whether the file name or a folder of a relative path (without suffix) indicates a label map."""
    *folders, name = path.split("/")
    return is_label_map_name(name) or any(map(is_label_folder_name, folders))


def label_folder(path: str) -> str:
    """Return a relative path up to its first label folder; empty without one."""
    parts = path.split("/")[:-1]
    return next(("/".join(parts[: end + 1]) for end, part in enumerate(parts) if is_label_folder_name(part)), "")


def is_region_mask(path: str) -> bool:
    """Return whether a relative path indicates a mask of the brain, face or field of view."""
    *folders, name = path.split("/")
    return any(map(_REGION_MASK.search, [name, *filter(is_label_map_name, folders)]))


def is_derived(path: str) -> bool:
    """Return whether a relative path (without suffix) indicates a continuous map derived from an image."""
    *folders, name = path.split("/")
    return _DERIVED.search(name) is not None or is_spm_map(name) or any(map(_DERIVED_FOLDER.fullmatch, folders))


def is_spm_map(name: str) -> bool:
    """Return whether a file name has a prefix of SPM for tissue maps and deformations."""
    return _SPM.match(name) is not None


def find_subject(name: str) -> str:
    """Return the subject in a name (``sub-01``, ``case_00000``, ``Subj1``), or an empty string."""
    found = _BIDS_SUBJECT.match(name) or _SUBJECT.search(name)
    return found.group() if found else ""


def is_bids_subject(name: str) -> bool:
    """Return whether a folder name indicates a BIDS subject."""
    return _BIDS_SUBJECT.fullmatch(name) is not None


def is_collection(name: str) -> bool:
    """Return whether a folder name indicates a subset of a data set, such as ``train`` or ``site2``."""
    parts = [word for word in split_words(name) if not word.isdigit()]
    if _NUMBERED_SET.match(name):
        return True
    return bool(parts) and all(_COLLECTION.fullmatch(word) or _IMAGE.fullmatch(word) for word in parts)


def split_of_folder(name: str) -> str:
    """Return "Tr", "Va" or "Ts" for names such as ``imagesTr`` and ``labelsTr``, otherwise an empty string."""
    found = _PART.fullmatch(name.rpartition("_")[2])
    return found[1] if found else ""


def strip_descriptors(name: str) -> str:
    """Return a name without words for modality, session, side and file type; possibly empty.

    Words for a session are removed only after other words: ``m01_T1`` becomes ``m01``, ``IXI002_m12`` ``IXI002``.
    """
    kept = ""
    date = _DATE.search(name)
    if date and (date.start() or _LETTER_AND_DIGIT.search(name)):
        name = name[: date.start()] + name[date.end() :]
    for found in _WORD.finditer(name):
        separator, word = found.groups()
        described = _MODALITY.fullmatch(word) or _IMAGE.fullmatch(word) or _LABEL.fullmatch(word)
        if not described and not (_SESSION.fullmatch(word) and (kept or not _DIGITS.search(word))):
            kept += (separator if kept else "") + word
    return kept


def is_repeat(name: str) -> bool:
    """Return whether all words of a name except numbers are for visits, scanners, scans or slices."""
    if _DATE.fullmatch(name):
        return True
    known = (_MODALITY, _IMAGE, _SESSION, _GROUP)
    rest = [word for word in split_words(name) if not word.isdigit() or _GROUP.fullmatch(word)]
    forms = [(word, stem := word.rstrip("0123456789"), f"{stem}1" if len(stem) > 1 else stem) for word in rest]
    return bool(rest) and all(any(one.fullmatch(form) for one in known for form in some) for some in forms)


def is_group(name: str) -> bool:
    """Return whether a name indicates a site, a cohort or a date instead of a patient."""
    return is_population(name) or bool(_DATE.fullmatch(name))


def is_population(name: str) -> bool:
    """Return whether a folder name indicates a site, centre or data set with a number or letter."""
    return _POPULATION.fullmatch(name) is not None


def strip_modality(name: str) -> str:
    """Return a name without words for modality and file type, common to an image and its label map."""
    kept = []
    for word in split_words(name):
        letters = word.rstrip("0123456789")
        if letters != word and (_IMAGE.fullmatch(letters) or _LABEL.fullmatch(letters)):
            word = word[len(letters) :]  # img0001, label0001
        if not (_MODALITY.fullmatch(word) or _IMAGE.fullmatch(word) or _LABEL.fullmatch(word)):
            kept.append(word)
    return "_".join(kept)
