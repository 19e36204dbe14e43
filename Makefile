# What a person and CI call, by the same names. `make help` lists it.
# bash, in the closed environment: recipes see few of the shell's variables (docs/local-machine.md).
SHELL := tools/closed/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Which environment, and what a command is given, comes from make's command line and from nowhere else: a variable of the shell
# that happens to have the same name must not redirect `make down`.
ENVIRONMENT := local
ifneq ($(filter environment%,$(origin ENVIRONMENT)),)
$(error ENVIRONMENT comes from the shell here (make -e): give it on the command line, make … ENVIRONMENT=dev)
endif
ifneq ($(words $(value ENVIRONMENT)) $(wildcard inventory/$(value ENVIRONMENT)/hosts.yml),1 inventory/$(value ENVIRONMENT)/hosts.yml)
$(error there is no environment '$(value ENVIRONMENT)': inventory/ holds $(patsubst inventory/%/hosts.yml,%,$(wildcard inventory/*/hosts.yml)))
endif

# These reach programs through the environment, exactly as they were typed: make expands no `$` in them, no shell reads them.
OPERANDS := VIDEO VIDEOS KEY TIMEOUT PHOTOS ROSTER ENCODINGS DRY_RUN STUDENT CLASS JSON RESULTS TO FROM PASSPHRASE_FILE COUNT CONFIRM CONFIRM_DATA \
	OUTPUT ROUNDS SEED GIT_BASE HOST KIND DEPTH
$(foreach name,$(OPERANDS),$(eval override $(name) := $(if $(filter command,$(firstword $(origin $(name)))),$$(value $(name)))))
export $(OPERANDS)
export SMART_CLASSROOM_ENVIRONMENT = $(ENVIRONMENT)
export SMART_CLASSROOM_KEEP := $(SMART_CLASSROOM_KEEP) $(OPERANDS)
# $(call need,NAME): stop with a sentence where the target's operand is missing.
need = @if [ -z "$${$(1)}" ]; then echo '$@: $(1) is missing: make $@ $(1)=…   (make help)' >&2; exit 2; fi

PATH := $(CURDIR)/.venv/bin:$(PATH)
# BLAS threads busy-wait; one thread for each process avoids oversubscribing the CPUs.
export OPENBLAS_NUM_THREADS = 1
PLAYBOOK = ansible-playbook -i inventory/$(ENVIRONMENT)
VAULT_PASSWORD_FILE ?= $(HOME)/.config/smart-classroom/$(ENVIRONMENT).vault-password
ifneq ($(wildcard $(VAULT_PASSWORD_FILE)),)
export ANSIBLE_VAULT_PASSWORD_FILE = $(VAULT_PASSWORD_FILE)
endif
OPS = python -m classroom_ops --environment=$(ENVIRONMENT)

# No target here is a file.
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install the controller's packages into .venv, at the versions of requirements.lock
	@bin/setup controller

up: setup ## bring the whole system up and prove that a video is answered (safe to run again)
	@$(PLAYBOOK) site.yml

verify: setup ## [DEPTH=full]: ask every part whether it works, and send one video through the pipeline, or one for each kind of answer
	@$(PLAYBOOK) playbooks/verify-parts.yml playbooks/verify-pipeline.yml -e @playbooks/vars/make-verify.yml

upload: setup ## VIDEO=clip.mp4 [KEY=name.mp4] [TIMEOUT=120]: upload a video and print its CSV
	$(call need,VIDEO)
	$(OPS) upload $${KEY:+"--key=$$KEY"} $${TIMEOUT:+"--timeout=$$TIMEOUT"} -- "$$VIDEO"

enroll: setup ## ROSTER=list PHOTOS=dir ENCODINGS=file [DRY_RUN=true]: enroll students; what is there already may be left out
	@if [ -z "$$ROSTER$$PHOTOS$$ENCODINGS" ]; then echo '$@: nothing is named: make $@ ROSTER=… PHOTOS=… ENCODINGS=… (one or more)' >&2; exit 2; fi
	$(PLAYBOOK) playbooks/enroll-students.yml -e @playbooks/vars/make-enroll.yml

students: setup ## [CLASS=history-101] [JSON=true]: list who is enrolled
	@$(OPS) students $${CLASS:+"--class=$$CLASS"} $$([ "$$JSON" != true ] || echo --json)

forget: setup ## STUDENT="First Last" [VIDEOS=true] [DRY_RUN=true]: remove all about a student, say what is left until when
	$(call need,STUDENT)
	$(OPS) forget $${VIDEOS:+"--videos=$$VIDEOS"} $${DRY_RUN:+"--dry-run=$$DRY_RUN"} -- "$$STUDENT"

subject-access: setup ## STUDENT="First Last" [TO=dir]: collect all that is held about a student
	$(call need,STUDENT)
	$(OPS) subject-access $${TO:+"--to=$$TO"} -- "$$STUDENT"

backup: setup ## [TO=dir] [RESULTS=true] [PASSPHRASE_FILE=file]: records, known encodings and, if wanted, results in one archive
	@$(OPS) backup $${TO:+"--to=$$TO"} $${RESULTS:+"--results=$$RESULTS"} $${PASSPHRASE_FILE:+"--passphrase-file=$$PASSPHRASE_FILE"}

restore: setup ## FROM=archive [PASSPHRASE_FILE=file] [DRY_RUN=true] [CONFIRM=local]: bring them back
	$(call need,FROM)
	$(OPS) restore $${DRY_RUN:+"--dry-run=$$DRY_RUN"} $${CONFIRM:+"--confirm=$$CONFIRM"} $${PASSPHRASE_FILE:+"--passphrase-file=$$PASSPHRASE_FILE"} -- "$$FROM"

workload: setup ## [COUNT=100]: upload many videos, compare every answer, plot the latency
	@$(OPS) workload "--count=$${COUNT:-100}"

redrive: setup ## [KEY=name.mp4] [DRY_RUN=true]: show the dead letters, with reasons, and move them back into their queues
	@$(OPS) redrive $${KEY:+"--key=$$KEY"} $$([ "$$DRY_RUN" != true ] || echo --dry-run)

pause: setup ## [HOST=true]: stop the pollers until make resume; videos wait. HOST=true stops the EC2 instance too
	@$(PLAYBOOK) playbooks/pause-pipeline.yml -e @playbooks/vars/make-pause.yml

resume: setup ## go on after make pause
	@$(PLAYBOOK) playbooks/resume-pipeline.yml

drift: setup ## list what differs from the desired state, change nothing; exit code 2 when something does
	@$(OPS) drift

upgrade: setup ## roll new code out: the function proved before callers meet it, then poller by poller; what fails is taken back
	@$(PLAYBOOK) playbooks/upgrade-pipeline.yml

rotate: setup ## replace the poller's access key and the SSH key of the servers, while they work
	@$(PLAYBOOK) playbooks/rotate-credentials.yml playbooks/rotate-ssh-key.yml

cost: setup ## the estimate of a month beside what AWS has billed so far, by the environment's tags
	@$(PLAYBOOK) playbooks/show-costs.yml

environments: setup ## all environments, one line each
	@$(OPS) environments

status: setup ## health report on one screen
	@$(OPS) status

monitor: setup ## open the page of figures and alerts on this machine until Ctrl-C; installs what it needs
	@$(PLAYBOOK) playbooks/install-monitoring.yml -e monitoring_enabled=true
	$(OPS) monitor

logs: setup ## collect the logs of every part in one archive, secrets taken out; KEY=name.mp4: print the lines of one video
	@$(OPS) logs $${KEY:+"--key=$$KEY"}

trace: setup ## KEY=name.mp4: one video through S3, queue, poller, function, results and VM, with times, from both clouds
	$(call need,KEY)
	$(OPS) trace -- "$$KEY"

down: setup ## [ENVIRONMENT=dev CONFIRM=dev]: remove everything that `make up` made and prove it (the cache stays)
	@$(PLAYBOOK) playbooks/teardown.yml -e @playbooks/vars/make-down.yml

purge: setup ## like down, and remove the cached images and files too
	@$(PLAYBOOK) playbooks/teardown.yml -e @playbooks/vars/make-down.yml -e control_node_teardown_cache=true

chaos: setup ## KIND=poller|function|network|disk|hypervisor [CONFIRM=dev]: break it on purpose, for a minute at most; it undoes itself
	$(call need,KIND)
	$(OPS) chaos $${CONFIRM:+"--confirm=$$CONFIRM"} -- "$$KIND"

lint: lint-ansible lint-code ## yamllint, ansible-lint, ruff, mypy, shellcheck, detect-secrets

dev:
	@bin/setup controller dev function

lint-ansible: dev
	@yamllint --strict .
	tools/lint-ansible -q

lint-code: export MYPY_CACHE_DIR = $(CURDIR)/.cache/mypy
lint-code: dev
	@ruff check .
	ruff format --check .
	mypy conftest.py classroom_contract classroom_ops collections playbooks/vars_plugins tests tools/roles-readme tools/lint-ansible tools/lint-prose bin/test bin/vault-init
	(cd benchmarks; MYPYPATH=.:..:../lambda_src:../tests/media mypy --config-file ../pyproject.toml .)
	for part in lambda_src vm_service; do (cd "$$part"; MYPYPATH=.:tests:..:../tests/media mypy --config-file ../pyproject.toml .); done
	for script in roles/*/files/*.py; do MYPYPATH="$$(dirname "$$script")" mypy "$$script"; done
	tools/lint-secrets
	tools/lint-prose
	git ls-files -- ':!*.j2' | xargs -d '\n' grep --directories=skip -lE '^#!/(usr/bin/env bash|bin/(ba)?sh)' | xargs shellcheck

unit: dev
	@pytest -n 3

check: dev ## lint, repository rules and unit tests: under three minutes
	@$(MAKE) -j 3 --output-sync=target unit lint-ansible lint-code

evaluate: dev ## [OUTPUT=dir]: measure how right the answers are; fails when a stranger is named (benchmarks/results, plots)
	@python -u -W ignore benchmarks/evaluate.py $${OUTPUT:+"--output=$$OUTPUT"}
	@python -u -W ignore benchmarks/faces.py $${OUTPUT:+"--output=$$OUTPUT"}

bench: dev ## [ROUNDS=5] [CLIPS=dir ENCODINGS=file]: time the function against the usual way, on the same clips
	@python -u -W ignore benchmarks/bench.py --rounds "$${ROUNDS:-5}" $${CLIPS:+"--clips=$$CLIPS"} $${ENCODINGS:+"--encodings=$$ENCODINGS"}

fuzz: dev ## [COUNT=500] [SEED=1]: answer damaged clips and photos; fails when one is too much for the function
	@python -u -W ignore benchmarks/fuzz.py --count "$${COUNT:-500}" --seed "$${SEED:-1}"

mutants: dev ## [PARTS="poller contract" MINUTES=10]: plant mistakes in the modules that decide, count those that no test notices
	@nice python benchmarks/mutants.py $(if $(MINUTES),--minutes $(MINUTES)) $(PARTS)

test: ## every test: check, scenarios, and the whole system up, broken, repaired and down (bin/test --list)
	@bin/test

vault-init: setup ## ENVIRONMENT=dev: generate the environment's secrets into an encrypted vault
	@python bin/vault-init $(ENVIRONMENT)

prerequisites: setup ## [ENVIRONMENT=dev]: report everything that is missing, each with its fix; changes nothing
	@$(PLAYBOOK) playbooks/check-prerequisites.yml

plan: dev ## compare what dev and prod would ask of AWS with the reviewed files in tests/system/plan
	@python -m tests.system.plan.record

plan-update: dev ## write those files again, for review in their diff
	@python -m tests.system.plan.record --update

deployment: dev ## GIT_BASE=git://ADDRESS: deploy dev with a real DevStack into an emulated account, use it and remove it
	$(call need,GIT_BASE)
	python -m tests.system.deployment.run "--git-base=$$GIT_BASE"

campus: dev ## deploy inventory/campus into the running local cloud, without an administrator's rights, and remove it
	@python -m tests.system.campus.run

lock: dev ## resolve every dependency group of pyproject.toml into requirements.lock again
	@tools/lock

roles-readme: setup ## write each role's README.md from its argument spec
	@python tools/roles-readme
