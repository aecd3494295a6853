"""NIP and FAN as ONNX for other programs, and a NIP quantised to 8 bits, as processors of phones compute it.

`onnx`, `onnxscript` and `onnxruntime` are needed here alone, and are imported inside functions.
"""
