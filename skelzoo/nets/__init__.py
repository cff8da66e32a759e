"""How the numbers are computed: plain ``torch.nn.Module`` classes on prepared tensors (N, C, T, V, M)."""
