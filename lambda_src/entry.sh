#!/bin/sh
# Starts the function: by Lambda's runtime interface where there is one, else through the emulator of it (local).
set -eu
if [ -z "${AWS_LAMBDA_RUNTIME_API:-}" ]; then
  exec /usr/local/bin/aws-lambda-rie /usr/bin/python3 -m awslambdaric "$@"
fi
exec /usr/bin/python3 -m awslambdaric "$@"
