# Short names for the scripts in tests/.
.PHONY: all demo test lint
all:
	cargo build --release --locked
demo:
	sh tests/demo
test:
	sh tests/run
lint:
	sh tests/lint
