"""A study and its workers with a trainer that trains nothing: what is tried, in which order, whoever dies."""

import errno
import multiprocessing
import os
import signal
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import hwkd.search.study as storage
import hwkd.search.worker as life
from hwkd.errors import HwkdError, InputError
from hwkd.search.cost import Budget, fits_budget
from hwkd.search.study import (
    FAMILY,
    FOUND,
    Proposals,
    SearchLimit,
    distributions,
    family_distribution,
    open_storage,
    parameter,
    set_limit,
    storage_errors,
    stored_settings,
)
from hwkd.search.train import Diverged
from hwkd.search.trial import COMPLETE, FAILED, REFERENCE, SEARCHED, STOPPED, UNIFORM, best_of
from hwkd.search.worker import Worker
from tests.unit.search.conftest import (
    MadeUpTrainer,
    Search,
    cost_by_channels,
    loss_of,
    small_settings,
    small_space,
    without_times,
)

STORAGES = ("study.journal", "study.db")


def test_references_come_first_then_equal_widths_then_the_search(search):
    found = search().work(4)
    assert [f.kind for f in found] == [REFERENCE, UNIFORM, UNIFORM, SEARCHED, SEARCHED]
    assert str(found[0].spec) == "gdn N=16 M=192 H=16 Z=16"
    # 120 channels: 3 x 24 + 32 = 104 of gdn and of patch; 32 or 40 would take 128 or more.
    assert [f.spec.widths for f in found[1:3]] == [(24, 24, 24), (24, 24, 24)]


def test_every_student_but_the_references_keeps_the_budget(search):
    found = search(paper_n=(16, 64)).work(12)
    assert all(f.cost.latency_ms.value <= 120 for f in found if f.kind != REFERENCE)
    assert [f.is_within for f in found if f.kind == REFERENCE] == [False, False]
    assert best_of(found).kind != REFERENCE


def test_references_are_trained_to_the_end_and_decide_nothing(search):
    with_two = search("a.journal", paper_n=(8, 16)).work(6)
    assert [f.state for f in with_two[:2]] == [COMPLETE, COMPLETE]
    assert [f.steps for f in with_two[:2]] == [8, 8]
    # The first of the search is alone at its rungs, whatever references have reached there.
    assert with_two[2].state == COMPLETE


def test_trials_are_halved_at_each_rung(search):
    found = search().work(12)
    searched = [f for f in found if f.kind != REFERENCE]
    stopped = [f for f in searched if f.state == STOPPED]
    assert stopped and all(f.steps < 8 for f in stopped)
    for f in searched:
        assert f.rd_loss == pytest.approx(loss_of(f.spec, f.steps))


def test_the_search_finds_better_students_than_those_of_equal_widths(search):
    # The loss counts the last layer five times as much as the first, which costs the same.
    found = search().work(30)
    uniform = min(f.rd_loss for f in found if f.kind == UNIFORM and f.state == COMPLETE)
    assert best_of(found).kind == SEARCHED and best_of(found).rd_loss < uniform


def test_two_searches_of_one_seed_are_the_same(search):
    one, other = search("one.journal").work(6), search("other.journal").work(6)
    assert without_times(one) == without_times(other)
    another_seed = search("more.journal", small_settings(seed=4)).work(6)
    assert [f.spec for f in another_seed] != [f.spec for f in one]


@pytest.mark.parametrize(
    ("name", "at"), [("study.journal", 1), ("study.journal", 7), ("study.db", 14)]
)
def test_a_search_that_was_interrupted_goes_on_as_if_it_was_not(search, name, at):
    whole = search("whole.journal").work(6)
    calls = []

    def interrupt(seed):
        calls.append(seed)
        if len(calls) == at:
            raise KeyboardInterrupt

    begun = search(name)
    with pytest.raises(KeyboardInterrupt):
        begun.work(6, MadeUpTrainer(8, interrupt))
    assert not any(t.state == TrialState.RUNNING for t in begun.study.trials)
    assert without_times(search(name).work(6)) == without_times(whole)


def test_more_trials_go_on_where_fewer_ended(search):
    search("a.journal").work(3)
    whole = search("whole.journal").work(6)
    assert without_times(search("a.journal").work(6)) == without_times(whole)


def test_a_finished_search_makes_no_trainer(search):
    whole = search()
    found = whole.work(3)

    def none():
        raise AssertionError("nothing is to be trained")

    Worker(
        whole.storage, whole.study, whole.settings, cost_by_channels, none, lambda p: None
    ).work()
    assert whole.found() == found


def test_a_trial_that_diverges_fails_with_its_reason_and_the_search_goes_on(search):
    seeds = []

    def once(seed):
        seeds.append(seed)
        if len(seeds) == 6:
            raise Diverged("the loss is not finite at step 1")

    found = search().work(4, MadeUpTrainer(8, once))
    failed = [f for f in found if f.state == FAILED]
    assert [f.reason for f in failed] == ["the loss is not finite at step 1"]
    assert len([f for f in found if f.kind != REFERENCE]) == 4


def killed_in_the_middle(place, barrier):
    """Work until the fifth trial's first rung, and be killed there."""
    search = Search(place)

    def die(seed):
        if len(search.study.trials) == 5:
            barrier.set()
            os.kill(os.getpid(), signal.SIGKILL)

    search.work(6, MadeUpTrainer(8, die))


@pytest.mark.parametrize("name", STORAGES)
def test_a_trial_whose_worker_was_killed_is_taken_over_at_once(search, name, tmp_path):
    whole = search("whole.journal").work(6)
    context = multiprocessing.get_context("fork")
    barrier = context.Event()
    child = context.Process(target=killed_in_the_middle, args=(tmp_path / name, barrier))
    child.start()
    child.join()
    assert barrier.is_set() and child.exitcode == -signal.SIGKILL
    left = search(name)
    assert [t.number for t in left.study.trials if t.state == TrialState.RUNNING] == [4]
    assert without_times(left.work(6)) == without_times(whole)


def test_a_trial_of_a_silent_worker_elsewhere_is_taken_over_after_a_while(search, monkeypatch):
    begun = search()
    begun.work(1)
    there = begun.study.ask()
    there.set_user_attr(life.ALIVE, {"machine": "elsewhere", "pid": 1, "started": "1", "beat": 0})
    monkeypatch.setattr(life, "LOST_AFTER_S", 0.05)
    monkeypatch.setattr("hwkd.search.worker.POLL_S", 0.02)
    found = {f.number: f for f in begun.work(2)}
    assert found[there.number].state in (COMPLETE, STOPPED)


def works(place, count):
    search = Search(place)
    search.work(count)


@pytest.mark.parametrize("name", STORAGES)
def test_workers_share_the_trials_and_none_is_tried_twice(search, name, tmp_path, monkeypatch):
    monkeypatch.setattr("hwkd.search.worker.POLL_S", 0.05)
    first = search(name)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=works, args=(tmp_path / name, 8)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    found = first.found()
    assert len([f for f in found if f.kind != REFERENCE]) == 8
    assert all(f.state in (COMPLETE, STOPPED) for f in found)
    assert len({f.number for f in found}) == len(found)


def test_a_study_of_another_search_is_refused_with_what_differs(search):
    search()
    with pytest.raises(InputError) as error:
        search(settings=small_settings(steps=16, budget=Budget(99.0, None, None)))
    assert str(error.value) == (
        "the study holds another search: budget was 120 ms, is now 99 ms; steps was 8, is now 16. Give the old values, or "
        "another --study for a new search"
    )


def test_a_study_of_another_space_is_refused(search):
    search()
    space = small_settings().space
    other = replace(space, families=space.families[:1])
    with pytest.raises(InputError, match=r"another search: space was gdn \(N1=8\.\.32 .* is now"):
        search(settings=small_settings(space=other))


def test_a_worker_finds_the_settings_in_the_study(search, tmp_path):
    begun = search("a.db")
    storage = open_storage(str(tmp_path / "a.db"), must_exist=True)
    assert stored_settings(storage) == (begun.settings, "")


def test_a_worker_without_a_study_is_told_to_begin_one(tmp_path):
    storage = open_storage(str(tmp_path / "a.db"), must_exist=False)
    with pytest.raises(InputError, match="holds no search yet: start it with `hwkd fit"):
        stored_settings(storage)


def test_time_that_is_over_begins_no_trial(search):
    begun = search()
    begun.work(1)
    set_limit(begun.study, SearchLimit(until=time.time() - 1))
    args = (begun.storage, begun.study, begun.settings, cost_by_channels)
    Worker(*args, lambda: MadeUpTrainer(8), lambda p: None).work()
    assert len(begun.found()) == 2


def test_what_is_shown_says_where_the_search_stands(search):
    begun, shown = search(), []
    set_limit(begun.study, SearchLimit(trials=2))
    args = (begun.storage, begun.study, begun.settings, cost_by_channels)
    Worker(*args, lambda: MadeUpTrainer(8), shown.append).work()
    ended = [p.trial.number for p in shown if p.has_ended]
    assert ended == [0, 1, 2]
    assert shown[-1].done == 2 and shown[-1].best.number in (1, 2)


def test_the_records_lie_in_the_study_for_any_other_reader(search):
    begun = search("a.db")
    begun.work(1)
    trial = begun.study.get_trials()[1]
    assert trial.value == begun.found()[1].rd_loss
    assert FOUND in trial.user_attrs and trial.params["family"] == "gdn"
    assert isinstance(begun.study, optuna.Study)


def test_an_sqlite_file_that_another_program_holds_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOCK_WAIT_S", 0.1)
    path = tmp_path / "study.db"
    open_storage(str(path), must_exist=False)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        locked = pytest.raises(InputError, match=r"study\.db is locked: another program has held")
        with locked, storage_errors(str(path)):
            open_storage(str(path), must_exist=True).get_all_studies()
    finally:
        holder.close()


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    path = tmp_path / "photo.db"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(InputError, match=r"photo\.db is not an SQLite database"):
        open_storage(str(path), must_exist=True)


def test_a_journal_that_is_none_is_one_line(tmp_path):
    path = tmp_path / "notes.log"
    path.write_text("what I did today\nand yesterday\n")
    with pytest.raises(InputError, match=r"notes\.log is not a journal of a study"):
        open_storage(str(path), must_exist=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("study.txt", r"--study .*study\.txt is no place for a study: give FILE\.db"),
        ("study.db", r"there is no study in .*study\.db: start it with `hwkd fit"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        open_storage(str(tmp_path / name), must_exist=True)
    assert not list(tmp_path.iterdir())


def test_a_url_that_nothing_can_open_is_one_line():
    with pytest.raises(InputError, match="cannot use the study nonsense://host"):
        open_storage("nonsense://host/db", must_exist=False)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot use the study"):
        open_storage(str(tmp_path / "file/study.db"), must_exist=False)


@pytest.mark.parametrize("name", ["q?a", "q#b", "p%41a", "a b"])
def test_a_file_is_no_url_whatever_its_name(tmp_path, name):
    open_storage(str(tmp_path / name / "study.db"), must_exist=False)
    assert [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()] == [
        Path(name, "study.db")
    ]


def test_half_a_line_of_a_killed_worker_does_not_end_the_journal(tmp_path):
    path = tmp_path / "study.journal"
    optuna.create_study(storage=open_storage(str(path), must_exist=False), study_name="one")
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    again = open_storage(str(path), must_exist=True)
    optuna.create_study(storage=again, study_name="two")
    names = [s.study_name for s in open_storage(str(path), must_exist=True).get_all_studies()]
    assert names == ["one", "two"]


def test_the_lock_of_a_journal_leads_to_it_from_every_folder(tmp_path, monkeypatch):
    # Optuna takes a lock that leads nowhere for a living one, for ever.
    monkeypatch.chdir(tmp_path)
    made = []
    monkeypatch.setattr(os, "symlink", lambda target, link: made.append((target, link)))
    monkeypatch.setattr(storage.JournalFileSymlinkLock, "release", lambda self: None)
    open_storage("study.journal", must_exist=False)
    assert {str(target) for target, _ in made} == {str(tmp_path / "study.journal")}


def test_a_full_disk_is_failed_work():
    with pytest.raises(HwkdError) as caught, storage_errors("study.journal"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not isinstance(caught.value, InputError)
    assert str(caught.value).startswith("the disk is full: the study study.journal keeps")


# Proposals: within the budget, on the steps of the space, from the seed and the trial's number alone.

SPACE = small_space()
FITS = fits_budget(Budget(90, None, None), cost_by_channels)


def ask(study):
    """A trial's family and channels, as a worker asks for them."""
    trial = study.ask()
    family = trial.suggest_categorical(FAMILY, family_distribution(SPACE).choices)
    part = SPACE.of(family)
    values = {
        r.name: trial.suggest_int(parameter(part, r.name), r.low, r.high, step=r.step)
        for r in part.ranges
    }
    return trial, part, values


@pytest.fixture
def study():
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return lambda seed=0: optuna.create_study(sampler=Proposals(SPACE, FITS, seed))


def proposed(study, count):
    found = []
    for _ in range(count):
        trial, part, values = ask(study)
        found.append((part.family, values))
        study.tell(trial, float(values["M"] + sum(values.values())))
    return found


def test_proposals_keep_the_budget_and_the_steps_of_the_space(study):
    for family, values in proposed(study(), 25):
        part = SPACE.of(family)
        assert FITS(part.spec(values))
        assert all((values[r.name] - r.low) % r.step == 0 for r in part.ranges)


def test_every_family_is_tried(study):
    assert {family for family, _ in proposed(study(), 12)} == {"gdn", "patch"}


def test_one_seed_proposes_the_same_another_something_else(study):
    assert proposed(study(1), 15) == proposed(study(1), 15)
    assert proposed(study(1), 15) != proposed(study(2), 15)


def test_a_new_process_goes_on_as_the_old_one_would_have(study):
    whole = study()
    expected = proposed(whole, 15)
    halves = study()
    first = proposed(halves, 9)
    halves.sampler = Proposals(SPACE, FITS, 0)
    assert first + proposed(halves, 6) == expected


def test_running_trials_of_others_are_kept_apart_from(study):
    made = study()
    proposed(made, 12)
    asked = [ask(made)[2] for _ in range(4)]
    assert len({tuple(values.items()) for values in asked}) > 1


def test_parameters_carry_the_familys_name():
    assert list(distributions(SPACE.of("patch")))[:3] == ["patch.w1", "patch.w2", "patch.w3"]
