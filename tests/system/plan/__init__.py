"""What the roles would ask of AWS in dev and prod, compared with reviewed files."""
