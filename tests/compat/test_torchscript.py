"""Tensors of a TorchScript archive, of which no code is run."""

import pickle
import warnings
import zipfile

import pytest
import torch
from torch import nn

from densecl.compat.torchscript import is_torchscript, read_torchscript
from densecl.transfer import read_weights


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    def forward(self, x):
        return self.blocks(self.bn1(self.conv1(x)).mean((2, 3)))


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Inner()
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        whole = torch.arange(24, dtype=torch.float16).view(4, 6)
        self.register_buffer('turned', whole.T[1:])  # not contiguous, with an offset
        self.register_buffer('input_resolution', torch.tensor(224))

    def forward(self, x):
        return self.visual(x) * self.logit_scale


@pytest.fixture(params=['script', 'trace'])
def archive(request, tmp_path):
    torch.manual_seed(0)
    path, model = tmp_path / 'RN50.pt', Outer().eval()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # deprecated, but OpenAI's files stay what they are
        args = (torch.zeros(1, 3, 8, 8),) if request.param == 'trace' else ()
        getattr(torch.jit, request.param)(model, *args).save(str(path))
    return path, model.state_dict()


def test_tensors_are_those_of_the_network(archive):
    path, want = archive
    assert is_torchscript(path)
    found = read_torchscript(path)
    assert found.keys() == want.keys()
    for name, tensor in want.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    assert read_weights(path).tensors.keys() == want.keys()


def test_other_files_are_none(tmp_path):
    torch.save(dict(a=torch.zeros(2)), tmp_path / 'a.pt')
    (tmp_path / 'b.pt').write_bytes(b'no archive')
    assert not is_torchscript(tmp_path / 'a.pt') and not is_torchscript(tmp_path / 'b.pt')


class Harm:
    def __reduce__(self):
        return print, ('run',)


def rewritten(path, **changed):
    """The archive with other entries."""
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    compression = changed.pop('compression', zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, 'w', compression) as new:
        for name, data in entries.items():
            new.writestr(name, changed.get(name.split('/', 1)[1].replace('.', '_').replace('/', '_'), data))


@pytest.mark.parametrize(('change', 'said'), [
    (dict(data_pkl=pickle.dumps(Harm())), r'it needs builtins\.print'),
    (dict(data_pkl=b'\x80\x02'), ''),
    (dict(data_0=b'ab'), ''),
    (dict(data_pkl=pickle.dumps(3)), ''),
    (dict(compression=zipfile.ZIP_DEFLATED), 'its tensors are compressed'),
])  # fmt: skip
def test_what_is_wrong_is_refused_and_nothing_run(archive, change, said, capsys):
    path, _ = archive
    rewritten(path, **change)
    with pytest.raises(ValueError, match=rf'is a TorchScript archive that could not be read \({said}'):
        read_weights(path)
    assert capsys.readouterr().out == ''
