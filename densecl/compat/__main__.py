"""``python -m densecl.compat``: print versions, operators with their backing, and devices."""

from .report import report

if __name__ == '__main__':
    print(report())
