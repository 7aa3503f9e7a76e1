"""Lightning: a schedule in `configure_optimizers`, asked after each step."""

import lightning
import torch

from glideslope.lr_scheduler import build_schedules, load_preset
from glideslope.lr_scheduler.torch_scheduler import ScheduledLR


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = torch.nn.Linear(8, 1)

    def training_step(self, batch, index):
        return self.network(batch).square().mean()

    def configure_optimizers(self):
        schedules = build_schedules(load_preset("warmup_cosine", ["network"]), base=1e-3, total_steps=50)
        optimizer = torch.optim.Adam(self.parameters())
        scheduler = ScheduledLR(optimizer, schedules["network"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


trainer = lightning.Trainer(max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(model := Model(), torch.utils.data.DataLoader(torch.randn(80, 8), batch_size=8))
print(model.lr_schedulers().get_last_lr())
