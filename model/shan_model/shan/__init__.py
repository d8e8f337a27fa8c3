"""SHAN (Ji, Chen, Wang, IJCAI 2021).

- `network`: the model, two encoders and the stepwise alignment;
- `alignment`: its three steps for pairs, as the paper defines them;
- `factorised`: the same score, with the linear layers moved out of the pair;
- `local`: the first step and its gradients in compiled C.
"""
