"""Performance of GPUs from the manufacturers' data sheets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One model of GPU; rates are peaks, without sparsity.

    Attributes:
        name: its usual name.
        memory: GiB available to a program.
        half: TFLOP/s of float16 or bfloat16 products with float32 sums, on tensor cores.
        tf32: TFLOP/s of float32 convolutions with torch's defaults.
        fp32: TFLOP/s of other arithmetic in float32.
        bandwidth: GB/s of its memory.
        link: GB/s to the other GPUs of a machine, in one direction.
        bf16: whether bfloat16 is as fast as float16.
    """

    name: str
    memory: float
    half: float
    tf32: float
    fp32: float
    bandwidth: float
    link: float
    bf16: bool = True

    def flops(self, kind: str) -> float:
        """FLOP/s of ``'half'``, ``'tf32'`` or ``'fp32'``."""
        return {'half': self.half, 'tf32': self.tf32, 'fp32': self.fp32}[kind] * 1e12


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu('h200', 139, 989, 495, 67, 4800, 450),
        Gpu('h100', 79, 989, 495, 67, 3350, 450),
        Gpu('a100-80', 79, 312, 156, 19.5, 2039, 300),
        Gpu('a100-40', 39, 312, 156, 19.5, 1555, 300),
        Gpu('l40s', 44, 362, 183, 91.6, 864, 25),
        Gpu('4090', 23.5, 165, 82.6, 82.6, 1008, 25),
        Gpu('3090', 23.5, 71, 35.6, 35.6, 936, 25),
        Gpu('v100', 31.5, 125, 15.7, 15.7, 900, 150, bf16=False),
        Gpu('t4', 14.7, 65, 8.1, 8.1, 320, 12, bf16=False),
    )
}
