"""The operator's commands on a deployed Smart Classroom: upload, workload, status, logs."""
