"""Small trainers, and faults and refactors of them, by which `trainkit verify` is tested."""
