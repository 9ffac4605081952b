# The verbs of the project; each is a script in scripts/, which says more at its top.
.DEFAULT_GOAL := help
.PHONY: help up down status logs lint test test-all

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Install what is missing, build images, start the hosts and deploy the local stack
	@scripts/up.sh

down: ## Remove the local stack (caches, images and .local/ stay)
	@scripts/down.sh

status: ## One line per component; fails when something is ill
	@scripts/status.sh

logs: ## Follow the logs of all hosts
	@scripts/logs.sh

lint: ## Every static check, with its seconds
	@scripts/lint.sh

test: ## Everything that must hold: lint, unit, integration, the Molecule scenarios
	@scripts/test.sh

test-all: ## make test and what does not fit its hour
	@scripts/test.sh --all
