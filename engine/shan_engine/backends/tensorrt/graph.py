"""Run a TensorRT plan natively on one GPU: named addresses, two streams, CUDA graphs, no PyTorch.

While one call is computed, the inputs of the next are copied: call n + 1 may be started before the result of call n
is fetched. Each of the two has its own memory on the host (pinned) and on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.interface import Array, OutOfDeviceMemoryError
from shan_engine.backends.tensorrt.available import TensorRt, import_tensorrt
from shan_engine.backends.tensorrt.memory import Cuda, DeviceBuffer, PinnedBuffer
from shan_engine.base.choices import Precision
from shan_engine.base.errors import BackendError, InputError
from shan_engine.base.files import replacing
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.plans import find_plans

SLOTS = 2
Shapes = tuple[tuple[int, ...], ...]


class TensorRtGraph:
    """One plan. `run` works as in every back end; `begin` lets two calls overlap."""

    device = "cuda"

    def __init__(self, library: TensorRt, plan: Path, cuda: Cuda) -> None:
        trt = library.module
        self._path, self._cuda, self._log = plan, cuda, library.logger()
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise BackendError(f"TensorRT cannot load {plan} ({self._fault()}): compile the bundle's plans again")
        self._kernels = _KernelCache(trt, self._engine, plan.with_suffix(".kernels"))
        self._context = self._kernels.context()
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        types = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        self.inputs: dict[str, tuple[np.dtype[Any], tuple[int | str | None, ...]]] = {
            name: (types[name], tuple(size if size >= 0 else None for size in self._engine.get_tensor_shape(name)))
            for name in names
            if modes[name] == trt.TensorIOMode.INPUT
        }
        self.outputs: Sequence[str] = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]
        self._output_types = {name: types[name] for name in self.outputs}
        self._copies, self._computes = cuda.stream(), cuda.stream()
        self._slots = [_Slot(cuda, [*self.inputs, *self.outputs]) for _ in range(SLOTS)]
        self._scratch = DeviceBuffer(
            cuda
        )  # memory for computing, whose size depends on the shapes; both slots use it in turn
        self._calls = 0
        self._shapes: Shapes = ()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Outputs by name.

        Raises InputError for a shape that the plan does not accept, and OutOfDeviceMemoryError if memory runs out.
        """
        return self.begin(inputs, outputs)()

    def begin(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> Callable[[], dict[str, Array]]:
        """Start a call. Returns a function that waits for its outputs. At most one other call may be in progress."""
        try:
            return self._begin(inputs, outputs)
        except OutOfDeviceMemoryError:
            self._slots[(self._calls - 1) % SLOTS].free()  # makes room for a smaller call
            self._scratch.free()
            self._shapes = ()
            raise

    def _begin(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None) -> Callable[[], dict[str, Array]]:
        feed = {name: np.asarray(inputs[name], dtype) for name, (dtype, _) in self.inputs.items()}
        slot, cuda = self._slots[self._calls % SLOTS], self._cuda
        self._calls += 1
        self._set_shapes(feed)
        for name, array in feed.items():
            staged = slot.pinned[name].array(array.shape, array.dtype)
            np.copyto(staged, array)
            cuda.upload(slot.place(name, staged.nbytes), staged, self._copies)
        cuda.call("cudaEventRecord", slot.copied, self._copies)
        cuda.call("cudaStreamWaitEvent", self._computes, slot.copied, 0)
        results = {
            name: slot.pinned[name].array(tuple(self._context.get_tensor_shape(name)), dtype)
            for name, dtype in self._output_types.items()
        }
        for name, array in results.items():
            slot.place(name, array.nbytes)
        self._execute(slot)
        wanted = list(outputs or self.outputs)
        for name in wanted:
            cuda.download(results[name], slot.addresses[name], self._computes)
        cuda.call("cudaEventRecord", slot.done, self._computes)

        def wait() -> dict[str, Array]:
            cuda.call("cudaEventSynchronize", slot.done)
            self._kernels.save()
            return {name: results[name].copy() for name in wanted}

        return wait

    def _set_shapes(self, feed: Mapping[str, NDArray[Any]]) -> None:
        shapes = tuple(array.shape for array in feed.values())
        if shapes == self._shapes:
            return
        self._shapes = ()
        self._cuda.call("cudaStreamSynchronize", self._computes)  # do not destroy a graph while it runs
        for name, array in feed.items():
            if not self._context.set_input_shape(name, array.shape):
                low, _, high = self._engine.get_tensor_profile_shape(name, 0)
                raise InputError(
                    f"{self._path} accepts '{name}' of shapes {tuple(low)} to {tuple(high)}, not {array.shape}: "
                    "use another back end, or compile the bundle with a larger --max-batch if the batch is too large"
                )
        for slot in self._slots:
            slot.forget_graph()
        size = int(self._context.update_device_memory_size_for_shapes())
        self._context.set_device_memory(self._scratch.at_least(max(1, size)), size)
        self._shapes = shapes

    def _execute(self, slot: _Slot) -> None:
        """Compute, with a recorded graph if this slot has computed with the same addresses and shapes before."""
        if slot.graph is not None:
            self._cuda.call("cudaGraphLaunch", slot.graph, self._computes)
            return
        for name, address in slot.addresses.items():
            self._context.set_tensor_address(name, address)
        if slot.seen and self._kernels.capture_here:
            with self._cuda.capturing(self._computes) as recorded:
                self._enqueue()
            (slot.graph,) = recorded
            self._cuda.call("cudaGraphLaunch", slot.graph, self._computes)
            return
        self._enqueue()  # the first call does set-up that cannot be recorded
        slot.seen = True

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(int(self._computes)):
            raise BackendError(f"TensorRT failed on {self._path}: {self._fault()}")

    def _fault(self) -> str:
        return self._log.errors[0].splitlines()[0] if self._log.errors else "no reason given"


class _Slot:
    """The memory of one call in progress, and its recorded graph."""

    def __init__(self, cuda: Cuda, names: Sequence[str]) -> None:
        self._cuda = cuda
        self.buffers = {name: DeviceBuffer(cuda) for name in names}
        self.pinned = {name: PinnedBuffer(cuda) for name in names}
        self.addresses: dict[str, int] = {}
        self.copied, self.done = cuda.event(), cuda.event()
        self.graph: Any = None
        self.seen = False

    def place(self, name: str, size: int) -> int:
        """The device address for an input or output of `size` bytes."""
        address = self.buffers[name].at_least(max(1, size))
        if self.addresses.get(name) != address:
            self.forget_graph()
        self.addresses[name] = address
        return address

    def free(self) -> None:
        """Free the slot's device memory."""
        self.forget_graph()
        for buffer in self.buffers.values():
            buffer.free()

    def forget_graph(self) -> None:
        """Drop the recorded graph, because shapes or addresses have changed."""
        if self.graph is not None:
            self._cuda.call("cudaGraphExecDestroy", self.graph)
        self.graph, self.seen = None, False


class _KernelCache:
    """The kernels that TensorRT for RTX compiles on the GPU, kept beside the plan. TensorRT has none to keep."""

    def __init__(self, trt: Any, engine: Any, path: Path) -> None:
        self._path, self._engine, self._saved = path, engine, False
        self._cache = self._config = None
        self._strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self.capture_here = not hasattr(trt, "CudaGraphStrategy")
        if not self.capture_here:  # TensorRT for RTX decides itself when to record graphs
            self._config = engine.create_runtime_config()
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._config.set_execution_context_allocation_strategy(self._strategy)
            self._cache = self._config.create_runtime_cache()
            if path.is_file():
                self._saved = bool(self._cache.deserialize(path.read_bytes()))
            self._config.set_runtime_cache(self._cache)

    def context(self) -> Any:
        """An execution context that uses the caller's memory. Raises BackendError if the GPU has no memory for it."""
        context = self._engine.create_execution_context(self._config or self._strategy)
        if context is None:
            raise BackendError(f"the GPU has no memory for {self._path.stem}: end other programs that use it")
        return context

    def save(self) -> None:
        """Save the kernels after the first call, unless the bundle cannot be written."""
        if self._cache is None or self._saved:
            return
        self._saved = True
        try:
            with replacing(self._path) as temporary:
                temporary.write_bytes(bytes(self._cache.serialize()))
        except InputError:
            pass


class TensorRtPlans:
    """The plans of a bundle for this machine's GPU, each loaded when asked for.

    Raises BackendError, saying what is missing, if there is no TensorRT, no GPU or no plan for them.
    """

    def __init__(self, bundle: Bundle, precision: Precision | None = None) -> None:
        self._library = import_tensorrt()
        self._cuda = Cuda()
        self.folder, self.plans = find_plans(
            bundle,
            compiler=self._library.name,
            version=self._library.version,
            architecture=self._cuda.architecture,
            precision=precision,
        )

    def load(self, name: str) -> TensorRtGraph:
        """Load the plan of the graph `name`."""
        return TensorRtGraph(self._library, self.folder / f"{name}.plan", self._cuda)
