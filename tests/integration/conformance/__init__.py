"""What AWS does and MiniStack alone does not: one file for each module of localcloud.fidelity, named after it."""
