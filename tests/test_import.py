"""What importing the package does not do."""

import subprocess
import sys

CODE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the network was touched")
socket.socket.connect = refuse
socket.create_connection = refuse
import scl.method.scl, scl.datasets.toyshop, scl.study.compute, scl.course.draw, scl.course.widgets
import torch
assert not torch.cuda.is_initialized()
print("quiet")
"""


def test_import_touches_no_gpu_and_no_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.stdout.strip() == "quiet", done.stderr
