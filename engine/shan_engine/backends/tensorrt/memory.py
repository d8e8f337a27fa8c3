"""Device memory, streams and graphs of one NVIDIA GPU, through NVIDIA's cuda-bindings."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import BackendError
from shan_engine.base.optional import install_command


class OutOfDeviceMemoryError(BackendError):
    """The GPU's memory does not hold what a call needs."""


class Cuda:
    """One GPU's run-time calls; each raises BackendError, OutOfDeviceMemoryError where memory is short."""

    def __init__(self, device: int = 0) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise BackendError(f"cuda-bindings is not installed: {install_command('tensorrt-rtx')}") from error
        self.runtime: Any = runtime
        count = self._device_count()
        if device >= count:
            raise BackendError(f"there are {count} NVIDIA GPUs here, none with number {device}: use the CPU")
        self.call("cudaSetDevice", device)
        self.device = device

    def _device_count(self) -> int:
        error, count = self.runtime.cudaGetDeviceCount()
        if int(error):
            raise BackendError(f"CUDA finds no GPU here ({self._name(error)}): install NVIDIA's driver, or use the CPU")
        return int(count)

    def call(self, name: str, *arguments: Any) -> Any:
        """The result of a function of the CUDA run time, None where it has none."""
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
        """Such as sm_89."""
        attribute = self.runtime.cudaDeviceAttr
        major = self.call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, self.device)
        minor = self.call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, self.device)
        return f"sm_{major}{minor}"

    def stream(self) -> Any:
        """A stream that does not wait for the default one."""
        return self.call("cudaStreamCreateWithFlags", self.runtime.cudaStreamNonBlocking)

    def event(self) -> Any:
        """An event without a time."""
        return self.call("cudaEventCreateWithFlags", self.runtime.cudaEventDisableTiming)

    def upload(self, to: int, array: NDArray[Any], stream: Any) -> None:
        """Copy a contiguous array to the device; the array must stay until the stream has come there."""
        self.call("cudaMemcpyAsync", to, array.ctypes.data, array.nbytes, self._kind("HostToDevice"), stream)

    def download(self, array: NDArray[Any], source: int, stream: Any) -> None:
        """Copy from the device into a contiguous array, which holds it when the stream has come there."""
        self.call("cudaMemcpyAsync", array.ctypes.data, source, array.nbytes, self._kind("DeviceToHost"), stream)

    def _kind(self, way: str) -> Any:
        return getattr(self.runtime.cudaMemcpyKind, f"cudaMemcpy{way}")

    @contextmanager
    def capturing(self, stream: Any) -> Iterator[list[Any]]:
        """Record what is put on the stream; the list then holds one graph that does it all again."""
        self.call("cudaStreamBeginCapture", stream, self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        recorded: list[Any] = []
        try:
            yield recorded
        except BaseException:
            self.runtime.cudaStreamEndCapture(stream)  # the stream is then usable again
            raise
        graph = self.call("cudaStreamEndCapture", stream)
        recorded.append(self.call("cudaGraphInstantiate", graph, 0))
        self.call("cudaGraphDestroy", graph)


class DeviceBuffer:
    """Memory on the device that grows to what is asked for."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._address, self._size = cuda, 0, 0

    def at_least(self, size: int) -> int:
        """The address of at least `size` bytes; what was in it may be gone."""
        if size > self._size:
            self.free()
            self._address = int(self._cuda.call("cudaMalloc", size))
            self._size = size
        return self._address

    def free(self) -> None:
        """Give the memory back."""
        if self._address:
            self._cuda.call("cudaFree", self._address)
        self._address = self._size = 0


class PinnedBuffer:
    """Memory of the host that the GPU copies from while the host goes on; it grows to what is asked for."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self._address, self._bytes = cuda, 0, np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array in this memory; the one given before is then no longer to be used."""
        size = int(np.prod(shape)) * dtype.itemsize
        if size > len(self._bytes):
            self.free()
            self._address = int(self._cuda.call("cudaHostAlloc", size, self._cuda.runtime.cudaHostAllocDefault))
            self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._address))
        return self._bytes[:size].view(dtype).reshape(shape)

    def free(self) -> None:
        """Give the memory back."""
        if self._address:
            self._cuda.call("cudaFreeHost", self._address)
        self._address, self._bytes = 0, np.empty(0, np.uint8)
