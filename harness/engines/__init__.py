"""Where cells run: processes of this machine (`local`). An engine takes jobs and reports events, nothing else."""
