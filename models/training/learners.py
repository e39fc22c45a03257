"""Classifiers that are exact in ONNX, one or several together, with a temperature that makes probabilities honest.

Rows are float32 before anything is fitted, because the graph computes in float32. A value that is missing is NaN: the
boosted trees take it as it is, the others the median in its place (forests lose the branch of NaN in conversion).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.training.ordered import OrderedBoosting

Table = NDArray[np.float32]
Classes = NDArray[np.intp]
Probabilities = NDArray[np.float64]
Learner = Literal["boosting", "forest", "blend", "linear"]
Make = Callable[[int], Any]  # an estimator for so many classes
Directions = Sequence[int]  # by column: 1 where more of it never makes a lower class likelier, -1 a higher, 0 else

SMALLEST: Final = 1e-6  # a probability below is taken as this before its logarithm: float32 knows no smaller ones well
SEED: Final = 7
MOST_TREES: Final = 1400  # of boosting: with more of them the graph becomes larger than a version may be
STEP: Final = 10  # rounds of boosting, after which their answers are looked at
MARGIN: Final = 0.002  # of log-loss: what costs more, a later learner or more rounds, must be better by so much


def boosting(classes: int, directions: Directions = ()) -> Any:
    """Boosted trees, the default: small, fast, at home with missing values; one tree per round and class.

    `fit` keeps as many of the rounds as are worth it. With `directions` the classes are in rising order.
    """
    if any(directions) and classes > 2:
        return OrderedBoosting(partial(boosting, 2, directions), classes)
    trees = HistGradientBoostingClassifier(
        max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False, random_state=SEED
    )
    if any(directions):  # they keep trees from learning by heart: larger steps are no worse, and fewer trees are faster
        return trees.set_params(
            monotonic_cst=list(directions), learning_rate=0.1, max_iter=100, min_samples_leaf=20, max_features=0.5
        )
    rounds = min(200, MOST_TREES // max(classes, 1))
    return trees.set_params(learning_rate=0.05, max_iter=rounds, min_samples_leaf=10, max_features=0.3)


def extra_trees(classes: int) -> Any:
    """Extremely randomised trees, few and not too large: beside boosted ones they make better probabilities."""
    trees = ExtraTreesClassifier(60, max_leaf_nodes=300, max_features=None, random_state=SEED, n_jobs=1)
    return make_pipeline(_imputer(), trees)


def forest(classes: int) -> Any:
    """A random forest: better than boosting where one class is rare and clear."""
    return make_pipeline(_imputer(), RandomForestClassifier(100, random_state=SEED, n_jobs=1))


def linear(classes: int) -> Any:
    """Logistic regression on standardised inputs."""
    return make_pipeline(_imputer(), StandardScaler(), LogisticRegression(max_iter=2000))


def _imputer() -> SimpleImputer:
    return SimpleImputer(strategy="median", keep_empty_features=True)


MEMBERS: Final[Mapping[Learner, tuple[Make, ...]]] = {
    "linear": (linear,),
    "boosting": (boosting,),
    "forest": (forest,),
    "blend": (boosting, extra_trees),
}


@dataclass(frozen=True, slots=True)
class Classifier:
    """Fitted members whose logarithms are averaged, divided by the temperature and normalised."""

    members: tuple[Any, ...]
    temperature: float = 1.0

    def probabilities(self, rows: Table) -> Probabilities:
        """One column per class, as scikit-learn and float64 compute it."""
        return softmax(_logits([one.predict_proba(rows) for one in self.members]) / self.temperature)


def softmax(logits: Probabilities) -> Probabilities:
    """Rows that sum to 1."""
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Probabilities = grown / grown.sum(axis=1, keepdims=True)
    return shares


def _logits(answers: Sequence[Probabilities]) -> Probabilities:
    clipped = [np.log(np.clip(one, SMALLEST, 1.0)) for one in answers]
    return np.mean(clipped, axis=0, dtype=np.float64)  # type: ignore[no-any-return]


def temperature(logits: Probabilities, truth: Classes) -> float:
    """What the logits are divided by so that the truth becomes most likely; the decision never changes."""

    def loss(value: float) -> float:
        return float(-np.log(softmax(logits / value)[np.arange(len(truth)), truth]).mean())

    return float(minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded").x)


def log_loss(probabilities: Probabilities, truth: Classes) -> float:
    """Mean surprise at the truth; smaller is better."""
    return float(abs(np.log(np.clip(probabilities[np.arange(len(truth)), truth], SMALLEST, 1.0)).mean()))


Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A classifier, and what models like it said about each row that they had not seen: for bars and sets."""

    learner: Learner
    classifier: Classifier
    unseen: Probabilities
    losses: Mapping[str, float]  # of every learner that was tried, on rows not seen


def fit(rows: Table, truth: Classes, folds: Folds, tried: Sequence[Learner], directions: Directions = ()) -> Fitted:
    """The best of `tried` by the log-loss on rows not seen; every class must be in every fold.

    Each kind of member is fitted once per fold, whatever it is tried in. `directions` bind boosting alone.
    """
    classes = int(truth.max()) + 1
    bound = partial(boosting, directions=directions)
    of = {learner: tuple(bound if make is boosting else make for make in MEMBERS[learner]) for learner in tried}
    known: dict[Make, _Unseen] = {}
    best: Fitted | None = None
    losses: dict[str, float] = {}
    for learner in tried:
        for make in of[learner]:
            if make not in known:
                known[make] = _unseen(make, rows, truth, folds, classes)
        unseen, value = _tempered([known[make].answers for make in of[learner]], truth)
        losses[learner] = log_loss(unseen, truth)
        if best is None or losses[learner] < losses[best.learner] - MARGIN:
            best = Fitted(learner, Classifier((), value), unseen, losses)
    if best is None:
        raise ValueError("no learner is tried")
    members = tuple(_made(make, classes, known[make].rounds).fit(rows, truth) for make in of[best.learner])
    return Fitted(best.learner, Classifier(members, best.classifier.temperature), best.unseen, losses)


class _Unseen(NamedTuple):
    answers: Probabilities
    rounds: int  # of boosting; 0: it has none


def _unseen(make: Make, rows: Table, truth: Classes, folds: Folds, classes: int) -> _Unseen:
    """What estimators of a kind say about rows not seen, after the fewest rounds that say about as much as any."""
    stages: dict[int, Probabilities] = {}
    for train, test in folds:
        for rounds, answer in _stages(make(classes).fit(rows[train], truth[train]), rows[test]):
            stages.setdefault(rounds, np.zeros((len(rows), classes)))[test] = answer
    losses = {rounds: log_loss(_tempered([answers], truth)[0], truth) for rounds, answers in stages.items()}
    enough = min(rounds for rounds, loss in losses.items() if loss <= min(losses.values()) + MARGIN)
    return _Unseen(stages[enough], enough)


def _stages(fitted: Any, rows: Table) -> Iterator[tuple[int, Probabilities]]:
    """By number of rounds the answers; of an estimator without rounds the only ones."""
    if not isinstance(fitted, HistGradientBoostingClassifier | OrderedBoosting):
        yield 0, fitted.predict_proba(rows)
        return
    for rounds, answer in enumerate(fitted.staged_predict_proba(rows), 1):
        if rounds % STEP == 0 or rounds == fitted.n_iter_:
            yield rounds, answer


def _tempered(answers: Sequence[Probabilities], truth: Classes) -> tuple[Probabilities, float]:
    """The members' answers together under the best temperature, and that temperature."""
    logits = _logits(answers)
    value = temperature(logits, truth)
    return softmax(logits / value), value


def _made(make: Make, classes: int, rounds: int) -> Any:
    estimator = make(classes)
    return estimator.set_params(max_iter=rounds) if rounds else estimator
