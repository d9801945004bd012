"""Pure maths on arrays and tensors: no environment, no module, no file."""
