"""Run folders: claims, snapshots, logs, and what a run resumes from."""
