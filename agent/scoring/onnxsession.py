"""Bytes of a graph → a session that takes a limited share of the box: one thread, so much memory, so much time."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from agent.errors import ModelUnfit
from agent.scoring import onnxfile
from agent.scoring.modelfiles import Manifest

PROVIDERS: Final = ["CPUExecutionProvider"]
MOST_MEMORY: Final = 64 * 1024 * 1024  # of all models together, for weights and what is between the nodes


def session(data: bytes, manifest: Manifest, path: Path, *, apart: bool = False) -> ort.InferenceSession:
    """The session from the bytes that were hashed, if the graph is allowed and as the manifest says.

    Raises ModelUnfit, naming `path`. Nothing of the graph is computed here: what it costs is told by its parity cases.
    `apart`: its memory is not taken from the share of those that decide, nor limited.
    """
    try:
        found = onnxfile.read(data)
        onnxfile.require_allowed(found)
    except ModelUnfit as error:
        raise ModelUnfit(f"{path} {error}") from None
    if found.opsets != manifest.opsets:
        raise ModelUnfit(f"{path} uses the operator sets {found.opsets}, the manifest says {dict(manifest.opsets)}")
    _limit_memory()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the other cores belong to the line
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, and told once
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # folding constants is computing
    options.add_session_config_entry("session.use_env_allocators", "0" if apart else "1")
    options.enable_cpu_mem_arena = not apart  # without one it gives back what it took
    try:
        opened = ort.InferenceSession(data, options, providers=PROVIDERS)
    except Exception as error:  # noqa: BLE001  # onnxruntime's exceptions have no other common base
        raise ModelUnfit(f"{path} is refused by onnxruntime: {str(error)[:200]}") from None
    _check_shape(opened, manifest, path)
    return opened


@cache
def _limit_memory() -> None:
    """One allocator for all sessions of the process, which gives MOST_MEMORY and no more."""
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_asked = 1  # grows by what is asked for, not by powers of two
    ort.create_and_register_allocator(
        place, ort.OrtArenaCfg({"max_mem": MOST_MEMORY, "arena_extend_strategy": as_asked})
    )


def _check_shape(opened: ort.InferenceSession, manifest: Manifest, path: Path) -> None:
    inputs = [(one.name, one.type, len(one.shape), one.shape[-1:]) for one in opened.get_inputs()]
    width = len(manifest.features)
    if inputs != [(manifest.input, "tensor(float)", 2, [width])]:
        raise ModelUnfit(f"{path} takes {inputs}, the manifest says {manifest.input}: float, {width} columns")
    output = manifest.output
    outputs = {one.name: (one.type, len(one.shape), one.shape[-1:]) for one in opened.get_outputs()}
    if outputs.get(output.name) != ("tensor(float)", 2, [output.columns]):
        raise ModelUnfit(f"{path} gives {outputs}, the manifest says {output.name}: float, {output.columns} columns")


def why(error: Exception) -> str:
    """What became of a run that raised this, as the end of a sentence about the model."""
    said = str(error)
    if "erminate" in said:
        return "was cut off at its deadline"
    if "bfc_arena" in said:
        return f"wants more memory than the {MOST_MEMORY >> 20} MiB that all models may have together"
    return f"failed: {said[:200]}"


class Watch:
    """Cuts off runs that are late: one thread that sleeps while nothing runs and looks up once per deadline otherwise.

    A run ends between one and two deadlines after its start, at the latest; a run that is in time costs no wake-up.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._running: Any = None  # the options of the run under way
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self, opened: ort.InferenceSession, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        """Run the session, or raise what onnxruntime raises when the run is cut off."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="model-deadline", daemon=True)
            self._thread.start()
        options = ort.RunOptions()
        self._running = options
        if not self._wake.is_set():
            self._wake.set()
        try:
            answers: list[Any] = opened.run(outputs, inputs, options)
        finally:
            self._running = None
        return answers

    def close(self) -> None:
        """End the thread, if one was started."""
        self._closed.set()
        self._wake.set()

    def _look(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            seen = self._running
            if seen is None:
                self._wake.clear()
                seen = self._running  # a run that began between the look and the clear saw no need to wake us
            if seen is not None and not self._closed.wait(self._deadline_s) and self._running is seen:
                seen.terminate = True
