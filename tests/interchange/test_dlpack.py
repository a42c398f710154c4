"""DLPack import and export: shared memory, no gradient, and errors for unsupported arrays."""

import numpy as np
import pytest

import tinycnn
from tinycnn import Tensor, from_dlpack
from tinycnn.errors import AutogradError, BackendError, DtypeError


class OnAGpu:
    """Stands for an array of another library on a GPU; no GPU is needed."""

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **wanted):
        raise BufferError("it lies on a GPU")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_from_numpy_and_back_is_the_same_memory(dtype):
    array = np.arange(6, dtype=dtype).reshape(2, 3)[:, ::2]  # no contiguous one
    tensor = from_dlpack(array)
    assert (tensor.shape, tensor.dtype, tensor.requires_grad, tensor.creator) == ((2, 2), dtype, False, None)
    assert np.shares_memory(tensor.data, array)
    again = np.from_dlpack(tensor)
    array[0, 1] = 7
    assert again[0, 1] == tensor.numpy()[0, 1] == 7


def test_dlpack_arguments_are_passed_to_the_array():
    tensor = Tensor(np.ones((2, 2), np.float32))
    assert tuple(tensor.__dlpack_device__()) == (1, 0)
    assert "dltensor" in repr(tensor.__dlpack__())
    assert "dltensor_versioned" in repr(tensor.__dlpack__(max_version=(1, 0)))
    copied = np.from_dlpack(tensor, copy=True)
    assert not np.shares_memory(copied, tensor.data)
    with pytest.raises((BufferError, ValueError)):  # ValueError before NumPy 2.4
        tensor.__dlpack__(max_version=(1, 0), dl_device=(2, 0))


def test_read_only_arrays_stay_read_only():
    array = np.ones((2, 2), np.float32)
    array.flags.writeable = False
    tensor = from_dlpack(array)
    assert not tensor.data.flags.writeable
    assert (tensor @ tensor).numpy().tolist() == [[2, 2], [2, 2]]


def test_integers_become_float32():
    tensor = from_dlpack(np.array([1, 2]))
    assert (tensor.dtype, tensor.numpy().tolist()) == (np.float32, [1, 2])


def test_exporting_a_tensor_that_requires_a_gradient_raises():
    x = Tensor(np.ones(2), requires_grad=True)
    for tensor in (x, x * 2):
        with pytest.raises(AutogradError, match=r"tensor\.detach\(\)"):
            np.from_dlpack(tensor)
    assert np.shares_memory(np.from_dlpack(x.detach()), x.data)


def test_an_imported_tensor_can_require_a_gradient():
    x = from_dlpack(np.array([3.0]))
    x.requires_grad = True
    (x * x).sum().backward()
    assert x.grad.tolist() == [6.0]


@pytest.mark.parametrize("value", [[1.0], 2.0, "text", None])
def test_objects_that_are_not_arrays_raise(value):
    with pytest.raises(DtypeError, match=r"has no __dlpack__; for lists and numbers use Tensor\(\.\.\.\)"):
        from_dlpack(value)


def test_other_dtypes_and_devices_raise():
    with pytest.raises(DtypeError, match="float16"):
        from_dlpack(np.ones(2, np.float16))
    with (
        tinycnn.use_backend("numpy"),
        pytest.raises(BackendError, match=r"'numpy' cannot use this OnAGpu \(.+\); detach"),
    ):
        from_dlpack(OnAGpu())


def test_every_backend_imports_host_arrays(backend):
    tensor = from_dlpack(np.array([[1.0, 2.0]]))
    assert backend.owns(tensor.data)
    assert (tensor * 2).numpy().tolist() == [[2, 4]]
    again = from_dlpack(tensor)
    again.data[0, 0] = 9
    assert tensor.numpy().tolist() == [[9, 2]]  # the same memory, wherever it lies


def test_exchange_with_torch():
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'tinycnn[bench]'")
    theirs = torch.arange(6.0).reshape(2, 3)
    ours = from_dlpack(theirs.T)
    assert ours.shape == (3, 2)
    theirs[0, 1] = 9
    assert ours.numpy()[1, 0] == 9
    back = torch.from_dlpack(ours)
    back[2, 1] = -1
    assert theirs[1, 2] == -1
    with pytest.raises(BackendError, match=r"detach"):
        from_dlpack(theirs.clone().requires_grad_())
    with pytest.raises(AutogradError, match="detach"):
        torch.from_dlpack(Tensor(np.ones(2), requires_grad=True))
