"""Where figures come from is told by the log of a training."""

from densecl.provenance import commit, log_line, of_log


def test_a_log_says_machine_date_commit_and_command(monkeypatch):
    monkeypatch.setattr('sys.argv', ['/a/tools/train.py', 'my config.py', '--amp', 'bf16'])
    log = f'2026/11/27 15:00:00 - mmengine - INFO - {log_line()}\nmore\n'
    found = of_log(f'{log.replace("bf16", "fp16")}{log}')
    assert found['command'] == "train.py 'my config.py' --amp bf16", 'of the newest training'
    assert found['machine'] and found['date'].startswith('20') and found['commit'] == commit()
    assert of_log('INFO - made by hand\n') == {}
