"""Patients of published and common folder trees, found by path."""

import itertools
import re
import time
from collections import defaultdict

import pytest

from tools.data.readers.patients import find_patients

P = range(1, 11)


def tree(form: str, *values) -> list[str]:
    """Paths of all combinations of values."""
    return [form.format(*chosen) for chosen in itertools.product(*values)]


#: names of scans that no list has
MODALITIES = (
    *(
        "3DT1",
        "ep2d_diff",
        "FLAIR3D",
        "ceT1",
        "hrT2",
        "CT1",
        "rT1",
        "wT1",
        "T1VIBE",
        "T1_2x2x2",
        "TE30",
        "TI800",
        "fa20",
    ),
    *("bval1000", "2ch", "4ch", "la4ch", "phase2", "T50", "ph10", "av45", "followup2", "NODDI_ODI"),
)
#: paths, and an expression whose groups are the person; the whole path without one
TREES = {
    "visit above": (tree("visit{}/10{:02d}/t1", (1, 2, 3), P), r"/(\d+)/"),
    "OAI": (tree("V0{}/90000{:02d}/DESS", (0, 1, 3), P), r"/(\d+)/"),
    "year above": (tree("{}/10{:02d}/t1", (2019, 2020), P), r"/(\d+)/"),
    "months above": (tree("{}m/91000{:02d}/{}_DESS", ("00", 12), P, ("LEFT", "RIGHT")), r"/(\d+)/"),
    "scanner above": (tree("{}/10{:02d}", ("3T", "7T"), P), r"/(\d+)"),
    "MR1": (tree("MR{}/10{:02d}/t1", (1, 2), P), r"/(\d+)/"),
    "wave": (tree("wave{}/10{:02d}/t1", (1, 2), P), r"/(\d+)/"),
    "time point and first name": (tree("timepoint{}/{}", (1, 2), ("anna", "berta", "carl", "dora")), r"/(\w+)"),
    "tp1": (tree("tp{}/P{:03d}", (1, 2), P), r"/(\w+)"),
    "V2": (tree("V{}/P{:03d}", (1, 2), P), r"/(\w+)"),
    "scan1": (tree("scan{}/P{:03d}", (1, 2), P), r"/(\w+)"),
    "baseline": (tree("{}/{:03d}", ("baseline", "followup"), P), r"/(\w+)"),
    "surgery": (tree("{}_op/{:03d}", ("pre", "post"), P), r"/(\w+)"),
    "b-values": (tree("b{}/{:03d}", (0, 1000), P), r"/(\w+)"),
    "thickness": (tree("{}mm/{:03d}", (1, 5), P), r"/(\w+)"),
    "visit and BIDS": (tree("visit{}/sub-{:02d}/t1", (1, 2), P), r"(sub-\d+)"),
    "WMH": (
        [
            f"{site}/{start + i}/{name}"
            for site, start in (("Utrecht", 0), ("Singapore", 50), ("GE3T", 100))
            for i in range(3)
            for name in ("orig/3DT1", "orig/FLAIR", "pre/T1", "pre/FLAIR")
        ],
        r"/(\d+)/",
    ),
    "MosMed": ([f"studies/CT-{c}/study_{100 * c + i:04d}" for c in range(5) for i in range(6)], None),
    "vendors": (
        [f"{s}/{n + i:03d}/T1" for s, n in (("Siemens3T", 0), ("GE15T", 10), ("Philips3T", 20)) for i in P],
        None,
    ),
    "grades": ([f"grade{g}/pat_{name}{g}" for g in (1, 2) for name in ("anna", "berta", "carl")], None),
    "groups": (
        [f"group{g}/{name}" for g, names in ((1, "anna bea carl"), (2, "dora eve fritz")) for name in names.split()],
        None,
    ),
    "diseases": ([f"{s}/{n}{i}" for s, n in (("covid19", "a"), ("normal", "b")) for i in P], None),
    "years of new patients": (
        [f"{y}/{1000 + 10 * k + i}" for k, y in enumerate((2019, 2020, 2021)) for i in range(5)],
        None,
    ),
    "ACDC of nnU-Net": (tree("imagesTr/patient{:03d}_frame{}", P, ("01", 12)), r"patient(\d+)"),
    "pre and post": (tree("imagesTr/patient{:03d}_{}", P, ("pre", "post")), r"patient(\d+)"),
    "follow-ups": (tree("imagesTr/pat{:02d}_{}", P, ("BL", "FU1")), r"pat(\d+)"),
    "slices": (tree("{:03d}/slice_{:03d}", P, range(8)), r"^(\d+)"),
    "numbered slices": (tree("{:03d}/{:03d}", range(3), range(5)), r"^(\d+)"),
    "slices of a small set": (tree("{:03d}/{:03d}", range(20), range(200)), r"^(\d+)"),
    "kaggle_3m": (
        tree("kaggle_3m/TCGA_CS_{0}_19960909/TCGA_CS_{0}_19960909_{1}", range(4940, 4943), P),
        r"CS_(\d+)",
    ),
    "ChestX-ray14": (tree("images_00{0}/images/0000000{0}_00{1}", (1, 2, 3), range(4)), r"/(\d+)_"),
    "OCT2017": (
        [
            f"train/{c}/{c}-{n + i}-{j}"
            for c, n in (("CNV", 1016042), ("DME", 2016042))
            for i in (0, 1)
            for j in (1, 2, 3)
        ],
        r"-(\d+)-",
    ),
    "slices of LiTS": (tree("volume-{}_slice_{}", range(3), range(4)), r"-(\d+)_"),
    "CheXpert": (tree("train/patient{:05d}/study{}/view1_frontal", P, (1, 2)), r"patient(\d+)"),
    "eyes": (tree("train/{}_{}", P, ("left", "right")), r"/(\d+)"),
    "REFUGE": (
        tree("Training400/{0}/{1}{2:04d}", ("Glaucoma",), "g", P) + tree("Training400/Non-Glaucoma/n{:04d}", P),
        None,
    ),
    "first names": (tree("{}/scan{}", ("anna", "berta", "carl", "dora"), range(1, 6)), r"^(\w+)/"),
    "full names": (tree("{}/{:03d}", ("Smith_John", "Doe_Jane", "Roe_Rick"), (1, 2)), r"^(\w+)/"),
    "POPI": (tree("{}/T{}0", ("CLB", "RUL", "LMB"), (0, 5)), r"^(\w+)/"),
    "initials": (tree("{}/img{}", ("AB", "CD", "EF"), (1, 2)), r"^(\w+)/"),
    "many scans": (tree("A{:02d}/vol{:03d}", (1, 2), range(55)), r"^(\w+)/"),
    "OASIS-1": (tree("OAS1_{0:04d}_MR{1}/RAW/OAS1_{0:04d}_MR{1}_mpr-{2}_anon", P, (1, 2), (1, 2)), r"OAS1_(\d+)"),
    "OASIS-1 by disc": (
        tree("disc1/OAS1_{0:04d}_MR{1}/RAW/OAS1_{0:04d}_MR{1}_mpr-{2}_anon", P, (1, 2), (1, 2)),
        r"OAS1_(\d+)",
    ),
    "UK Biobank": (tree("10000{:02d}_20252_{}_0/T1/T1", P, (2, 3)), r"^(\d+)"),
    "UPENN-GBM": (
        tree("UPENN-GBM-{0:05d}_{1}/UPENN-GBM-{0:05d}_{1}_{2}", P, (11, 21), ("T1", "T1GD")),
        r"GBM-(\d+)",
    ),
    "BraTS-MEN-RT": (tree("BraTS-MEN-RT-{0:04d}-{1}/BraTS-MEN-RT-{0:04d}-{1}_t1c", P, (1, 2)), r"RT-(\d+)"),
    "repeats": (tree("P{:03d}_{}", P, (1, 2)), r"P(\d+)"),
    "a repeat of one": ([f"P{i:03d}_1" for i in P] + ["P003_2"], r"P(\d+)"),
    "dates": (tree("P{:03d}_{}", P, ("2019-01-02", "2020-05-06")), r"P(\d+)"),
    "dates of each": ([f"P{i:03d}_20{k + 10}{i:02d}05" for i in P for k in (i, i + 1)], r"P(\d+)"),
    "ISBI 2015": (
        tree("training/training{0:02d}/orig/training{0:02d}_0{1}_flair", range(1, 6), range(1, 5)),
        r"/training(\d+)/",
    ),
    "NLST": (tree("{}_T{}", range(100001, 100011), (0, 1, 2)), r"^(\d+)"),
    "NLST by UID": (tree("{0}/T{1}/1.2.840.113654.2.55.{0}{1}", range(100001, 100005), (0, 1, 2)), r"^(\d+)"),
    "LungCT": (tree("LungCT_{:04d}_000{}", P, (0, 1)), r"LungCT_(\d+)"),
    "ADNI": (
        [
            f"ADNI/{i:03d}_S_0295/MPRAGE/{d}/I1372{i}{d[3]}/ADNI_x_{i}{d[3]}"
            for i in P
            for d in ("2006-04-18_08_20_30.0", "2007-05-01_01_01_01.0")
        ],
        r"/(\d+)_S",
    ),
    "hash names by class": ([f"{c}/{(c * 97 + i) * 7919**5:032x}" for c in range(3) for i in P], None),
    "LUNA16": ([f"subset{i % 2}/1.3.6.1.4.1.14519.5.2.1.6279.6001.10{i:02d}225287" for i in P], None),
    "BraTS 2020": ([f"BraTS20_{part}_{i:03d}" for part in ("Training", "Validation") for i in P], None),
    "Messidor": ([f"Base1{i % 3}/200510{i:02d}_38{i}91_0{i % 2}00_PP" for i in P], None),
    "WMH of Dataverse": (
        [
            f"training/{site}/{start + i}/{name}"
            for site, start in (("Utrecht", 0), ("Singapore", 50), ("Amsterdam/GE3T", 100))
            for i in range(3)
            for name in ("orig/FLAIR", "orig/T1", "pre/T1")
        ],
        r"/(\d+)/",
    ),
    "ImageNet": ([f"n0144{c}/n0144{c}_{(c * 997 + i) * 13}" for c in range(5) for i in range(50)], None),
    "BreaKHis": (
        tree("{0}/SOB/SOB_B_A-14-2254{1}AB/{2}X/SOB_B_A-14-2254{1}AB-{2}-00{3}", ("benign",), P, (40, 100), (1, 2)),
        r"14-(\w+)/",
    ),
    "BreaKHis, flat": (tree("SOB_B_A-14-2254{}AB-{}-00{}", P, (40, 100), (1, 2)), r"14-(\w+)-"),
    "dates before": (tree("{}_P{:03d}", ("2019-01-02", "20200506"), P), r"_P(\d+)"),
    "days": (tree("201901{:02d}_{:03d}", P, (1, 2)), None),
    "OsiriX": (tree("{}/IM-0001-{:04d}", ("Anna", "Berta", "Carla"), range(1, 9)), r"^(\w+)/"),
    "visits of some": (["1001/t1", "1003/t1", "1002/v1/t1", "1002/v2/t1"], r"^(\d+)"),
    "folders of some": (["1001/t1", "1003/t1", "1002/a/t1", "1002/b/t1"], r"^(\d+)"),
    "many unknown scans": (tree("10{:02d}/{}", (1, 2), "abcdefgh"), r"^(\d+)/"),
    "TCGA": (tree("TCGA-0{0}-52{0}3/{1}/{2}", P, ("01-01-1998-MR", "05-06-1998-MR"), ("T1", "FLAIR")), r"TCGA-(\d+)-"),
    "LUMIERE": (tree("Patient-0{:02d}/week-0{}/{}", P, ("00", "12-1"), ("CT1", "FLAIR")), r"Patient-(\d+)"),
    "knees": (tree("9{:02d}0001_{}_V{}", P, ("LEFT", "RIGHT"), ("00", "01")), r"^(\d+)_"),
    "DIR-Lab": (tree("Case{0}Pack/Images/case{0}_T{1}0", P, (0, 5)), r"case(\d+)_"),
    "ABIDE": (tree("{}_005145{}/session_1/anat_1/mprage", ("Caltech", "NYU"), P), r"^(\w+)/"),
    "ABIDE II": (tree("ABIDEII-{}/2900{}{:02d}/session_{}/anat_1/anat", ("BNI_1",), (0,), P, (1, 2)), r"/(29\d+)/"),
    "PI-CAI": (
        tree("fold{}/100{1:02d}/100{1:02d}_10000{1:02d}{2}_{3}".replace("{}", "{0}"), (0,), P, (0, 1), ("t2w", "adc")),
        r"/(\d+)/",
    ),
    "autoPET": (
        tree(
            "FDG-PET-CT-Lesions/PETCT_0{:02d}f3deaf/03-23-200{}-NA-PET-CT Ganzkoerper-1044{}/{}",
            P,
            (1, 2),
            (1,),
            ("CTres", "SUV"),
        ),
        r"PETCT_(\w+)/",
    ),
    "HECKTOR": (tree("imagesTr/CHUM-0{:02d}__{}", P, ("CT", "PT")), r"CHUM-(\d+)"),
    "M&Ms-2": (tree("dataset/{0:03d}/{0:03d}_{1}", P, ("SA_ED", "SA_ES", "LA_ED", "SA_CINE")), r"/(\d+)/"),
    "MRBrainS": (tree("TrainingData/{}/{}", range(1, 6), ("T1", "T1_IR", "T2_FLAIR")), r"/(\d+)/"),
    "HNTS-MRG": (tree("train/{0}/{1}/{0}_{1}_T2", P, ("preRT", "midRT")), r"/(\d+)/"),
    "MAMA-MIA": (tree("images/DUKE_0{0:02d}/DUKE_0{0:02d}_000{1}", P, (0, 1, 2)), r"/DUKE_(\d+)/"),
    "Montgomery": (tree("MontgomerySet/CXR_png/MCUCXR_{:04d}_{}", P, (0,)), None),
    "dcm2niix": ([f"10{i:02d}/T1_MPRAGE_2019010210153{k}_{k + 2}" for i in P for k in (0, 1)], r"^(\d+)/"),
    "T0 above": (tree("T{}/10{:02d}/flair", (0, 1, 2), P), r"/(\d+)/"),
    "sites and visits": (tree("site{}/visit{}/10{:02d}", (1, 2), (1, 2), P), r"(site\d).*/(\d+)"),
    "first and family names": (tree("{}/{}/{}", ("Anna", "Bob", "Cara"), ("Smith",), ("pre", "post")), r"^(\w+)/"),
    "classes, patients, slices": (
        tree("{}/{}{:02d}/{:03d}", ("AMD",), "p", P, range(5)) + tree("DME/q{:02d}/{:03d}", P, range(5)),
        r"/([pq]\d+)/",
    ),
    "centres": (tree("Training/Center_0{}/Patient_0{}/Raw_Data/FLAIR", (1, 2), (1, 2)), None),
    "data sets of BIDS": (tree("{}/sub-0{}/anat/sub-0{}_T1w", ("ds001", "ds002"), (1,), (1,)), None),
    "data sets of nnU-Net": (tree("Dataset00{}_X/imagesTr/case_00{}_0000", (1, 2), P), None),
    "cases": (tree("case_{}", P), None),
    "hippocampi": (tree("imagesTr/hippocampus_{:03d}", P), None),
    "heads": (tree("head_{:03d}", P), None),
    "BRATS": (tree("BRATS_{:03d}", P), None),
    "pancreases": (tree("imagesTr/pancreas_{:03d}", P), None),
    "scans": (tree("scan_{}", P), None),
    "scans in folders": (tree("set/scan{:05d}", P), None),
    "scans of two classes": ([f"{c}/img_{n + i}" for c, n in (("benign", 0), ("malignant", 50)) for i in P], None),
    "parts": (tree("A1_{:03d}", range(50)) + tree("A2_{:03d}", range(50, 99)), None),
}
TREES |= {f"modality {word}": (tree("P{:03d}_{}", P, ("FLAIR", word)), r"P(\d+)") for word in MODALITIES}
TREES |= {f"folder {word}": (tree("P{:03d}/{}", P, ("FLAIR", word)), r"P(\d+)") for word in MODALITIES}


@pytest.mark.parametrize("name", TREES)
def test_patients_are_the_persons_of_a_tree(name):
    cases, person = TREES[name]
    groups = defaultdict(set)
    for case, patient in find_patients(cases).items():
        groups[patient].add(re.search(person, case).groups() if person else case)
    assert len(groups) == len(set().union(*groups.values())) == sum(map(len, groups.values())), dict(groups)


@pytest.mark.parametrize("form", ["scan{:05d}", "P{:05d}_1", "{0:05d}/{0:05d}_t1", "x{:05d}/foo", "a/b/c/d/e{:05d}"])
def test_patients_are_found_in_linear_time(form):
    cases = tree(form, range(16000))
    start = time.process_time()
    find_patients(cases)
    assert time.process_time() - start < 8, "0.5 ms per file"
