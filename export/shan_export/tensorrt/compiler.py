"""TensorRT's builder: compiles one ONNX graph to one plan."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onnx import ModelProto
from shan_engine.backends.tensorrt.available import TensorRt
from shan_engine.backends.tensorrt.memory import Cuda
from shan_engine.base.errors import BackendError, first_line
from shan_engine.base.files import replacing
from shan_engine.bundle.plans import Limits, profile


class Compiler:
    """A builder for the given GPU architectures.

    TensorRT for RTX compiles for any architecture it knows, without a GPU. TensorRT compiles only for the GPU
    present. Raises BackendError for any other architecture; the message lists the supported ones.
    """

    def __init__(self, library: TensorRt, architectures: Sequence[str]) -> None:
        self.library = library
        self.crosses = library.name == "tensorrt_rtx"
        self.architectures = tuple(architectures) or (self._own(),)
        known = self.targets() if self.crosses else [self._own()]
        for name in self.architectures:
            if name not in known:
                choice = "one of" if self.crosses else "the GPU that is present,"
                raise BackendError(
                    f"{library.name} {library.version} cannot compile for {name}: choose {choice} {', '.join(known)}"
                )

    def targets(self) -> list[str]:
        """The architectures that need no GPU to compile for."""
        names = self.library.module.ComputeCapability.__members__
        return [f"sm_{name[2:]}" for name in names if name.startswith("SM")]

    def _own(self) -> str:
        try:
            return Cuda().architecture
        except BackendError as error:
            if not self.crosses:
                raise
            targets = ", ".join(self.targets())
            raise BackendError(f"{error}, or name the GPUs to compile for with --gpu-arch ({targets})") from error

    def build(
        self,
        model: ModelProto,
        limits: Limits,
        *,
        timing_cache: Path | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> bytes:
        """The plan of a graph, dynamic up to `limits`; `on_progress` gets the steps done and their total.

        An interrupt takes effect at the compiler's next step. Raises BackendError with TensorRT's message.
        """
        trt, log = self.library.module, self.library.logger()
        builder = trt.Builder(log)
        # TensorRT 11 has only strongly typed networks and may lack the flag's name.
        typed = getattr(getattr(trt, "NetworkDefinitionCreationFlag", None), "STRONGLY_TYPED", None)
        network = builder.create_network(0 if typed is None else 1 << int(typed))
        parser = trt.OnnxParser(network, log)
        if not parser.parse(model.SerializeToString()):
            raise BackendError(f"TensorRT cannot read the graph: {parser.get_error(0).desc()}")
        config = builder.create_builder_config()
        self._target(config)
        config.add_optimization_profile(self._profile(builder, network, limits))
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if hasattr(trt.BuilderFlag, "TF32"):  # it keeps 10 bits of a product's factors
            config.clear_flag(trt.BuilderFlag.TF32)
        monitor = _monitor(trt, on_progress)
        config.progress_monitor = monitor
        cache = self._timing_cache(config, timing_cache)
        plan = builder.build_serialized_network(network, config)
        if monitor.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            fault = first_line(Exception(log.errors[0])) if log.errors else "no reason given"
            raise BackendError(f"TensorRT cannot compile the graph: {fault}")
        if cache is not None and timing_cache is not None:
            with replacing(timing_cache) as temporary:
                temporary.write_bytes(bytes(cache.serialize()))
        return bytes(plan)

    def _target(self, config: Any) -> None:
        if not self.crosses:
            return
        capability = self.library.module.ComputeCapability
        config.num_compute_capabilities = len(self.architectures)
        for number, name in enumerate(self.architectures):
            config.set_compute_capability(getattr(capability, f"SM{name[3:]}"), number)

    def _profile(self, builder: Any, network: Any, limits: Limits) -> Any:
        held = builder.create_optimization_profile()
        for number in range(network.num_inputs):
            tensor = network.get_input(number)
            held.set_shape(tensor.name, *zip(*profile(tensor.name, tensor.shape, limits), strict=True))
        return held

    def _timing_cache(self, config: Any, path: Path | None) -> Any:
        if self.crosses or path is None:  # TensorRT for RTX measures no timings while it compiles
            return None
        held = path.read_bytes() if path.is_file() else b""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            cache = config.create_timing_cache(held)
            if not config.set_timing_cache(cache, False):  # from another GPU or version
                cache = config.create_timing_cache(b"")
                config.set_timing_cache(cache, False)
        return cache


def _monitor(trt: Any, on_progress: Callable[[int, int], None]) -> Any:
    """A progress monitor; Ctrl-C stops the compiler at its next step."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self.done = self.total = 0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.total += num_steps

        def phase_finish(self, phase_name: str) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:  # an exception must not pass through the compiler
                self.done += 1
                on_progress(self.done, self.total)
            except KeyboardInterrupt:
                self.interrupted = True
            return not self.interrupted

    return Monitor()
