"""Memory, streams and CUDA graphs of one NVIDIA GPU, through NVIDIA's cuda-bindings."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.interface import OutOfDeviceMemoryError
from shan_engine.base.errors import BackendError
from shan_engine.base.optional import install_command


class Cuda:
    """CUDA run-time calls for one GPU. Each raises BackendError, or OutOfDeviceMemoryError if memory runs out."""

    def __init__(self, device: int = 0) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise BackendError(f"cuda-bindings is not installed: {install_command('tensorrt-rtx')}") from error
        self.runtime: Any = runtime
        count = self._device_count()
        if device >= count:
            raise BackendError(f"there is no NVIDIA GPU number {device} among {count} here: use the CPU")
        self.call("cudaSetDevice", device)
        self.device = device

    def _device_count(self) -> int:
        error, count = self.runtime.cudaGetDeviceCount()
        if int(error):
            raise BackendError(f"CUDA finds no GPU ({self._name(error)}): install NVIDIA's driver, or use the CPU")
        return int(count)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the CUDA run time. Returns its result, or None if it has none."""
        error, *results = getattr(self.runtime, name)(*arguments)
        if int(error):
            fault = f"{name}: {self._name(error)}"
            if error == self.runtime.cudaError_t.cudaErrorMemoryAllocation:
                raise OutOfDeviceMemoryError(f"the GPU's memory is full ({fault}): end other programs that use it")
            raise BackendError(f"the GPU failed ({fault}): run again, or use the CPU")
        return results[0] if results else None

    def _name(self, error: Any) -> str:
        return str(getattr(error, "name", error))

    @property
    def architecture(self) -> str:
        """The GPU's architecture, such as sm_89."""
        attribute = self.runtime.cudaDeviceAttr
        major = self.call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, self.device)
        minor = self.call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, self.device)
        return f"sm_{major}{minor}"

    def stream(self) -> Any:
        """A new stream that does not wait for the default stream."""
        return self.call("cudaStreamCreateWithFlags", self.runtime.cudaStreamNonBlocking)

    def event(self) -> Any:
        """A new event without timing."""
        return self.call("cudaEventCreateWithFlags", self.runtime.cudaEventDisableTiming)

    def upload(self, to: int, array: NDArray[Any], stream: Any) -> None:
        """Copy a contiguous array to the device. The array must live until the stream has executed the copy."""
        self.call("cudaMemcpyAsync", to, array.ctypes.data, array.nbytes, self._kind("HostToDevice"), stream)

    def download(self, array: NDArray[Any], source: int, stream: Any) -> None:
        """Copy from the device into a contiguous array, which is filled once the stream has executed the copy."""
        self.call("cudaMemcpyAsync", array.ctypes.data, source, array.nbytes, self._kind("DeviceToHost"), stream)

    def _kind(self, way: str) -> Any:
        return getattr(self.runtime.cudaMemcpyKind, f"cudaMemcpy{way}")

    @contextmanager
    def capturing(self, stream: Any) -> Iterator[list[Any]]:
        """Record the calls made on the stream. Afterwards the list holds one graph that repeats them all."""
        self.call("cudaStreamBeginCapture", stream, self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        recorded: list[Any] = []
        try:
            yield recorded
        except BaseException:
            self.runtime.cudaStreamEndCapture(stream)  # makes the stream usable again
            raise
        graph = self.call("cudaStreamEndCapture", stream)
        recorded.append(self.call("cudaGraphInstantiate", graph, 0))
        self.call("cudaGraphDestroy", graph)


class DeviceBuffer:
    """Memory on the device that grows on demand."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._address, self._size = cuda, 0, 0

    def at_least(self, size: int) -> int:
        """The address of at least `size` bytes. Their earlier content may be lost."""
        if size > self._size:
            self.free()
            self._address = int(self._cuda.call("cudaMalloc", size))
            self._size = size
        return self._address

    def free(self) -> None:
        """Free the memory."""
        if self._address:
            self._cuda.call("cudaFree", self._address)
        self._address = self._size = 0


class PinnedBuffer:
    """Host memory that the GPU can copy from while the host continues. It grows on demand."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._address, self._bytes = cuda, 0, np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array in this memory. Do not use an array given before any more."""
        size = int(np.prod(shape)) * dtype.itemsize
        if size > len(self._bytes):
            self.free()
            self._address = int(self._cuda.call("cudaHostAlloc", size, self._cuda.runtime.cudaHostAllocDefault))
            self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._address))
        return self._bytes[:size].view(dtype).reshape(shape)

    def free(self) -> None:
        """Free the memory."""
        if self._address:
            self._cuda.call("cudaFreeHost", self._address)
        self._address, self._bytes = 0, np.empty(0, np.uint8)
