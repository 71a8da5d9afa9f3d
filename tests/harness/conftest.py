"""The harness's libraries read these when they are imported."""

import os

os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"
