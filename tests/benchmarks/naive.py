"""The tutorial's loop, as everyone runs it: Pillow, eager, the whole network for every batch of every epoch.

python -m tests.benchmarks.naive FOLDER EPOCHS DEVICE: trains on FOLDER/label/image, prints each epoch's seconds.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import ResNet18_Weights, resnet18

BATCH = 64


def main(folder: str, epochs: int, device: str) -> None:
    data = ImageFolder(folder, ResNet18_Weights.DEFAULT.transforms())
    torch.manual_seed(0)
    model = resnet18(weights=None).eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(512, len(data.classes))
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    for _ in range(epochs):
        began = time.perf_counter()
        for images, labels in DataLoader(data, BATCH, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
        loss.item()  # a device may still be at it
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
