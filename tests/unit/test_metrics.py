"""What Prometheus sees: names, labels and values in the words of the product."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent import metrics
from agent.buckets import COMMIT_SECONDS, REQUEST_SECONDS, SCORES, Buckets

PROMISED = [
    "gatepost_events_total{source,result}",
    "gatepost_events_undecided",
    "gatepost_event_oldest_age_seconds",
    "gatepost_postings{state}",
    "gatepost_posting_oldest_age_seconds{state}",
    "gatepost_postings_total{target,kind,result}",
    "gatepost_store_commit_duration_seconds_count",
    "gatepost_store_commit_errors_total{error}",
    "gatepost_store_wal_bytes",
    "gatepost_store_free_bytes",
    "gatepost_source_connected{source}",
    "gatepost_source_session_lost_total{source}",
    "gatepost_source_gap_total{source}",
    "gatepost_face_connected{face}",
    "gatepost_target_open{target}",
    "gatepost_erp_request_duration_seconds_count{target,operation,result}",
    "gatepost_lanes_blocked",
    "gatepost_quarantined{reason}",
    "gatepost_held",
    "gatepost_shortages",
    "gatepost_decisions_total{workflow,route}",
    "gatepost_model_score_count{model}",
    "gatepost_model_fits{model}",
    "gatepost_model_drift{model}",
    "gatepost_store_damaged",
    "gatepost_audit_chain_ok",
    "gatepost_clock_step_total",
    "gatepost_clock_unsynchronised",
    "gatepost_build_info{version}",
    "gatepost_progress_timestamp_seconds{loop}",
]


def full() -> metrics.Snapshot:
    scores, requests, commits = (Buckets(bounds) for bounds in (SCORES, REQUEST_SECONDS, COMMIT_SECONDS))
    commits.observe(0.003)
    for value in (0.2, 0.97, 1.0):
        scores.observe(value)
    requests.observe(99)
    return metrics.Snapshot(
        events_total={("line", "stored"): 12, ("line", "duplicate"): 1},
        quarantined={"not_json": 2},
        source_connected={"line": 1},
        source_session_lost_total={"line": 0},
        source_gap_total={"line": 3},
        face_connected={"opcua_server": 1},
        decisions_total={("consumption", "posted"): 4},
        model_score={("consumption_anomaly/1",): scores},
        model_fits={"consumption_anomaly": 1},
        model_drift={"consumption_anomaly": 2},
        postings={"ready": 5},
        posting_oldest_age={"ready": 7.5},
        postings_total={("sap", "goods_issue", "acknowledged"): 4},
        target_open={"sap": 0},
        erp_request={("sap", "post", "acknowledged"): requests},
        store_commit=commits,
        store_commit_errors_total={"SQLITE_FULL": 1},
        balance_difference={"events": 0},
        progress={"intake": 1e9},
        version="0.1.0",
    )


def samples(snapshot: metrics.Snapshot) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.exposition(metrics.registry(lambda: snapshot)).decode()
    families = text_string_to_metric_families(text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


@pytest.mark.parametrize("promised", PROMISED)
def test_every_promised_metric_is_there_with_its_labels(promised):
    """Each metric the dashboard and the alerts use is exposed under its name with exactly its labels."""
    name, _, labels = promised.rstrip("}").partition("{")
    found = [{label for label, _ in key} for sample, key in samples(full()) if sample == name]
    assert found
    assert found[0] == set(labels.split(",") if labels else ())


def test_counts_appear_as_they_were_kept():
    """The numbers of the snapshot are the numbers of the scrape."""
    shown = samples(full())
    assert shown["gatepost_events_total", (("result", "stored"), ("source", "line"))] == 12
    assert shown["gatepost_target_open", (("target", "sap"),)] == 0
    assert shown["gatepost_audit_chain_ok", ()] == 1


def test_buckets_are_cumulative_and_end_with_infinity():
    """A histogram counts a value in every bucket at or above it, and what is beyond the last only in +Inf."""
    shown = samples(full())
    model = ("model", "consumption_anomaly/1")
    assert shown["gatepost_model_score_bucket", (("le", "0.2"), model)] == 1
    assert shown["gatepost_model_score_bucket", (("le", "1.0"), model)] == 3
    assert shown["gatepost_model_score_sum", (model,)] == pytest.approx(2.17)
    request = (("operation", "post"), ("result", "acknowledged"), ("target", "sap"))
    assert shown["gatepost_erp_request_duration_seconds_bucket", (("le", "60.0"), *request)] == 0
    assert shown["gatepost_erp_request_duration_seconds_bucket", (("le", "+Inf"), *request)] == 1


def test_registering_does_not_ask_for_numbers():
    """A registry can be built before the agent has opened its store."""

    def not_yet() -> metrics.Snapshot:
        raise AssertionError("asked before the first scrape")

    metrics.registry(not_yet)


def test_two_registries_do_not_share_anything():
    """Two agents in one process, as in tests, have their own metrics."""
    assert samples(full()) != samples(metrics.Snapshot())


def test_the_process_itself_is_measured():
    """Memory and CPU of the agent are exposed on Linux."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc here")
    assert samples(metrics.Snapshot())["gatepost_process_resident_memory_bytes", ()] > 1e6
