"""A stand-in for NVIDIA's libraries, for control flow alone: it computes with ONNX Runtime and proves nothing of a GPU.

Streams are lazy: what is put on one happens only when somebody waits for it, so that a missing wait, or memory used
again too early, gives wrong numbers. A "plan" is an ONNX file.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100


@dataclass
class Stream:
    waiting: list[Callable[[], None]] = field(default_factory=list)
    recording: list[Callable[[], None]] | None = None

    def add(self, action: Callable[[], None]) -> None:
        (self.waiting if self.recording is None else self.recording).append(action)

    def run(self, until: int | None = None) -> None:
        while self.waiting and (until is None or until > 0):
            self.waiting.pop(0)()
            until = None if until is None else until - 1


@dataclass
class Event:
    stream: Stream | None = None
    done: bool = True

    def wait(self) -> None:
        while not self.done:
            assert self.stream
            assert self.stream.waiting, "an event that was not recorded"
            self.stream.run(1)


class FakeGpu:
    """The module `cuda.bindings.runtime`, and a module `tensorrt` or `tensorrt_rtx`, of one pretended GPU."""

    def __init__(self, *, memory: int = 1 << 30, capability: tuple[int, int] = (8, 9), count: int = 1) -> None:
        self.free, self.capability, self.count = memory, capability, count
        self.held: dict[int, np.ndarray] = {}
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {}
        self.launches = 0
        self.runtime = self._runtime()

    def _runtime(self) -> ModuleType:
        module = ModuleType("cuda.bindings.runtime")
        kinds = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
        constants = {
            "cudaError_t": Error,
            "cudaMemcpyKind": kinds,
            "cudaStreamNonBlocking": 1,
            "cudaEventDisableTiming": 2,
            "cudaHostAllocDefault": 0,
            "cudaStreamCaptureMode": SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
            "cudaDeviceAttr": SimpleNamespace(cudaDevAttrComputeCapabilityMajor=0, cudaDevAttrComputeCapabilityMinor=1),
        }
        for name, value in constants.items():
            setattr(module, name, value)
        for name in dir(self):
            if name.startswith("cuda"):
                setattr(module, name, getattr(self, name))
        return module

    def cudaGetDeviceCount(self):
        return (Error.cudaSuccess, self.count) if self.count else (Error.cudaErrorNoDevice, None)

    def cudaSetDevice(self, device):
        return (Error.cudaSuccess,)

    def cudaDeviceGetAttribute(self, attribute, device):
        return Error.cudaSuccess, self.capability[attribute]

    def cudaMalloc(self, size):
        if size > self.free:
            return Error.cudaErrorMemoryAllocation, None
        memory = np.full(size, 0xA5, np.uint8)
        self.free -= size
        self.held[memory.ctypes.data] = memory
        return Error.cudaSuccess, memory.ctypes.data

    def cudaFree(self, address):
        for stream in self.streams.values():
            stream.run()  # as the real one, it waits for the device
        self.free += len(self.held.pop(address))
        return (Error.cudaSuccess,)

    def cudaHostAlloc(self, size, flags):
        memory = ctypes.create_string_buffer(size)
        self.pinned[ctypes.addressof(memory)] = memory
        return Error.cudaSuccess, ctypes.addressof(memory)

    def cudaFreeHost(self, address):
        for stream in self.streams.values():
            stream.run()
        del self.pinned[address]
        return (Error.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags):
        handle = len(self.streams) + 1
        self.streams[handle] = Stream()
        return Error.cudaSuccess, handle

    def cudaStreamSynchronize(self, handle):
        self.streams[handle].run()
        return (Error.cudaSuccess,)

    def cudaEventCreateWithFlags(self, flags):
        return Error.cudaSuccess, Event()

    def cudaEventRecord(self, event, handle):
        event.stream, event.done = self.streams[handle], False

        def happens():
            event.done = True

        self.streams[handle].add(happens)
        return (Error.cudaSuccess,)

    def cudaStreamWaitEvent(self, handle, event, flags):
        self.streams[handle].add(event.wait)
        return (Error.cudaSuccess,)

    def cudaEventSynchronize(self, event):
        event.wait()
        return (Error.cudaSuccess,)

    def cudaMemcpyAsync(self, to, source, size, kind, handle):
        device = to if kind == 1 else source
        assert size <= len(self.held[device]), "copied beyond the buffer"
        self.streams[handle].add(lambda: ctypes.memmove(to, source, size) and None)
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, handle, mode):
        self.streams[handle].recording = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, handle):
        recorded, self.streams[handle].recording = self.streams[handle].recording, None
        return Error.cudaSuccess, recorded

    def cudaGraphInstantiate(self, graph, flags):
        return Error.cudaSuccess, list(graph)

    def cudaGraphDestroy(self, graph):
        graph.clear()
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph):
        graph.clear()
        return (Error.cudaSuccess,)

    def cudaGraphLaunch(self, graph, handle):
        self.launches += 1
        for action in graph:
            self.streams[handle].add(action)
        return (Error.cudaSuccess,)

    def tensorrt(self, name: str = "tensorrt", version: str = "11.4.0") -> ModuleType:
        """The compiler's module; `tensorrt_rtx` has the run-time configuration of TensorRT for RTX."""
        module = ModuleType(name)
        module.__version__ = version
        module.Builder = object
        module.ILogger = type("ILogger", (), {"Severity": SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)})
        module.TensorIOMode = SimpleNamespace(INPUT=0, OUTPUT=1)
        module.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED=2)
        module.nptype = lambda dtype: dtype
        rtx = name == "tensorrt_rtx"
        if rtx:
            module.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE=1)
        module.Runtime = lambda log: _Runtime(self, log, rtx)
        return module


_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


class _Runtime:
    def __init__(self, gpu: FakeGpu, log: Any, rtx: bool) -> None:
        self.gpu, self.log, self.rtx = gpu, log, rtx

    def deserialize_cuda_engine(self, plan: bytes):
        try:
            session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        except Exception as error:
            self.log.log(1, f"the plan is broken\n{error}")
            return None
        return _Engine(self.gpu, session, self.rtx)


class _Engine:
    MOST = 64

    def __init__(self, gpu: FakeGpu, session: Any, rtx: bool) -> None:
        self.gpu, self.session = gpu, session
        self.values = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
        self.input_names = [value.name for value in session.get_inputs()]
        self.num_io_tensors = len(self.values)
        if rtx:
            self.create_runtime_config = lambda: _RuntimeConfig()

    def get_tensor_name(self, number):
        return list(self.values)[number]

    def get_tensor_mode(self, name):
        return 0 if name in self.input_names else 1

    def get_tensor_dtype(self, name):
        return _TYPES[self.values[name].type]

    def get_tensor_shape(self, name):
        return tuple(size if isinstance(size, int) else -1 for size in self.values[name].shape)

    def get_tensor_profile_shape(self, name, profile):
        shape = self.get_tensor_shape(name)
        return [tuple(size if size >= 0 else bound for size in shape) for bound in (1, 8, self.MOST)]

    def create_execution_context(self, how):
        return _Context(self)


class _RuntimeConfig:
    def create_runtime_cache(self):
        return SimpleNamespace(deserialize=lambda data: data == b"kernels", serialize=lambda: b"kernels")

    def set_runtime_cache(self, cache):
        self.cache = cache

    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def set_input_shape(self, name, shape):
        low, _, high = self.engine.get_tensor_profile_shape(name, 0)
        if not all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True)):
            return False
        self.shapes[name] = tuple(shape)
        return True

    def update_device_memory_size_for_shapes(self):
        return 100 * max(shape[0] for shape in self.shapes.values())

    def set_device_memory(self, address, size):
        assert len(self.engine.gpu.held[address]) >= size

    def get_tensor_shape(self, name):
        session = self.engine.session
        feed = {one: np.ones(self.shapes[one], self.engine.get_tensor_dtype(one)) for one in self.engine.input_names}
        return session.run([name], feed)[0].shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, handle):
        engine, shapes, addresses = self.engine, dict(self.shapes), dict(self.addresses)
        held = engine.gpu.held

        def compute():
            feed = {}
            for name in engine.input_names:
                dtype = np.dtype(engine.get_tensor_dtype(name))
                size = int(np.prod(shapes[name])) * dtype.itemsize
                feed[name] = held[addresses[name]][:size].view(dtype).reshape(shapes[name]).copy()
            for value, array in zip(engine.session.get_outputs(), engine.session.run(None, feed), strict=True):
                raw = np.ascontiguousarray(array).view(np.uint8).ravel()
                held[addresses[value.name]][: len(raw)] = raw

        engine.gpu.streams[handle].add(compute)
        return True
