"""Hugging Face's Trainer, with rates that decay from the last layer of a BERT to the first."""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from glideslope.lr_scheduler import build_schedules, layerwise_decay, load_preset, parameter_groups
from glideslope.lr_scheduler.torch_scheduler import ScheduledLR

sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
model = BertForSequenceClassification(BertConfig(vocab_size=50, **sizes))
data = [{"input_ids": torch.arange(8) + i % 40, "labels": i % 2} for i in range(80)]
layers = ["bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pooler", "classifier"]
optimizer = torch.optim.AdamW(parameter_groups(model.named_parameters(), layerwise_decay(layers, 0.8)))
schedules = build_schedules(load_preset("warmup_cosine", networks=["model"]), base=1e-3, total_steps=25)
scheduler = ScheduledLR(optimizer, schedules["model"])
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(folder, num_train_epochs=2, report_to="none", use_cpu=True, save_strategy="no")
    Trainer(model, arguments, train_dataset=data, optimizers=(optimizer, scheduler)).train()
print(scheduler.get_last_lr())
