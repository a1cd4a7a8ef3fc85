"""TorchScript in: whole, by running its code node by node while torch.export traces."""
