"""Files of every kind, whole and broken."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from densecl.transfer import read_weights

TENSORS = {'layer1.0.conv1.weight': torch.arange(6.0).view(2, 3), 'conv1.weight': torch.ones(2)}


def same(read, expected):
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[key], expected[key]) for key in expected)


@pytest.mark.parametrize('container', [None, 'state_dict', 'model'])
def test_torch_files(tmp_path, container):
    path = tmp_path / 'a.pth'
    torch.save(TENSORS if container is None else {container: TENSORS, 'epoch': 3}, path)
    same(read_weights(path).tensors, TENSORS)


def test_one_dict_a_branch(tmp_path):
    path = tmp_path / 'dino.pth'
    torch.save({'student': TENSORS, 'teacher': TENSORS, 'epoch': 1}, path)
    names = {f'{b}.{k}': v for b in ('student', 'teacher') for k, v in TENSORS.items()}
    same(read_weights(path).tensors, names)


def test_safetensors(tmp_path):
    path = tmp_path / 'a.safetensors'
    save_file(TENSORS, str(path), metadata={'mean': '[1.0, 2.0]', 'format': 'pt', 'stem': '"plain"'})
    weights = read_weights(path)
    same(weights.tensors, TENSORS)
    assert weights.meta == {'mean': [1.0, 2.0], 'format': 'pt', 'stem': 'plain'}


def test_detectron2_pickle(tmp_path):
    path = tmp_path / 'a.pkl'
    model = {'res2.0.conv1.weight': np.ones((2, 3), np.float32), 'stem.fc': np.zeros(2)}
    path.write_bytes(pickle.dumps({'model': model, '__author__': 'x', 'matching_heuristics': True}))
    assert list(read_weights(path).tensors) == ['layer1.0.conv1.weight', 'stem.fc']


class Malicious:
    def __reduce__(self):
        return (eval, ('1 + 1',))


def test_pickle_with_code_is_refused(tmp_path):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps({'model': Malicious()}))
    with pytest.raises(pickle.UnpicklingError, match=r'a\.pkl: refused.*builtins\.eval'):
        read_weights(path)
    torch.save({'state_dict': Malicious()}, tmp_path / 'a.pth')
    with pytest.raises(pickle.UnpicklingError, match=r'a\.pth'):
        read_weights(tmp_path / 'a.pth')


@pytest.mark.parametrize('kind', ['pth', 'safetensors', 'pkl'])
@pytest.mark.parametrize('part', [0.0, 0.5, 0.95])
def test_half_written_files_are_named(tmp_path, kind, part):
    whole, path = tmp_path / 'whole', tmp_path / f'half.{kind}'
    if kind == 'pth':
        torch.save({'state_dict': TENSORS}, whole)
    elif kind == 'safetensors':
        save_file(TENSORS, str(whole))
    else:
        whole.write_bytes(pickle.dumps({'model': {k: v.numpy() for k, v in TENSORS.items()}}))
    content = whole.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises((ValueError, pickle.UnpicklingError), match=rf'half\.{kind}'):
        read_weights(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no\.pth does not exist'):
        read_weights(tmp_path / 'no.pth')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        read_weights(tmp_path)


def test_file_without_tensors(tmp_path):
    torch.save({'epoch': 3, 'note': 'x'}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth holds no tensors.*epoch, note'):
        read_weights(tmp_path / 'a.pth')
    torch.save([1, 2], tmp_path / 'b.pth')
    with pytest.raises(ValueError, match='holds a list'):
        read_weights(tmp_path / 'b.pth')
