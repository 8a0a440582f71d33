# Short names for the scripts in tests/.
.PHONY: all demo test lint bench deb test-deb test-boot install uninstall
# Static: a dynamic linker takes a fifth of the time of a hook. The program also runs with each version of the C library.
flags = -C target-feature=+crt-static -C link-arg=-fuse-ld=bfd -C link-arg=-Wl,-T,$(CURDIR)/src/bin/program/link.ld \
	-C link-arg=-Wl,-z,pack-relative-relocs -C llvm-args=-inline-threshold=45
all:
	cargo rustc --release --locked --bin symroute -- $(flags)
demo:
	sh tests/demo
test:
	sh tests/run
lint:
	sh tests/lint
# 'make bench QUICK=1' prints, and leaves docs/benchmarks.md as it is.
bench: all
	WRITE=$(if $(QUICK),,1) bash tests/bench
deb:
	sh tests/deb
test-deb:
	sh tests/deb-twice
	sh tests/deb-installed
test-boot:
	sh tests/boot
# As root. DESTDIR=/some/root installs into another root.
programs = $(or $(CARGO_TARGET_DIR),target)/release
# Empty for the Debian package, whose units debhelper installs.
units = /usr/lib/systemd/system
install:
	install -D -m 755 -t $(DESTDIR)/usr/sbin $(programs)/symroute
	ln -sf symroute $(DESTDIR)/usr/sbin/symroute-gen
	install -d -m 755 $(DESTDIR)/usr/libexec/symroute
	ln -sf ../../sbin/symroute $(DESTDIR)/usr/libexec/symroute/symroute-capture
	install -D -m 644 -t $(DESTDIR)/usr/share/symroute/templates templates/iproute2.j2 templates/article.j2 templates/hook.j2
	install -D -m 755 hooks/if-up $(DESTDIR)/etc/network/if-up.d/symroute
	install -D -m 755 hooks/if-down $(DESTDIR)/etc/network/if-down.d/symroute
	install -D -m 644 hooks/dhclient $(DESTDIR)/etc/dhcp/dhclient-exit-hooks.d/symroute
	install -D -m 644 hooks/dhclient $(DESTDIR)/usr/lib/dhcpcd/dhcpcd-hooks/70-symroute
	for directory in ip-up ip-down ipv6-up ipv6-down; do \
		install -D -m 755 hooks/ppp $(DESTDIR)/etc/ppp/$$directory.d/symroute; \
	done
	$(if $(units),install -D -m 644 debian/symroute.service $(DESTDIR)$(units)/symroute.service)
	install -d -m 755 $(DESTDIR)/etc/iproute2/rt_protos.d
	echo '97 symroute' >$(DESTDIR)/etc/iproute2/rt_protos.d/symroute.conf
	install -D -m 644 -t $(DESTDIR)/usr/share/man/man8 man/symroute.8 man/symroute-gen.8
	install -D -m 644 -t $(DESTDIR)/usr/share/man/man5 man/symroute-interfaces.5
	install -D -m 644 completions/symroute.bash $(DESTDIR)/usr/share/bash-completion/completions/symroute
	install -D -m 644 completions/symroute-gen.bash $(DESTDIR)/usr/share/bash-completion/completions/symroute-gen
	install -D -m 644 -t $(DESTDIR)/usr/share/zsh/vendor-completions completions/_symroute completions/_symroute-gen
	install -D -m 644 -t $(DESTDIR)/usr/share/fish/vendor_completions.d completions/symroute.fish completions/symroute-gen.fish
uninstall:
	rm -f $(DESTDIR)/usr/sbin/symroute $(DESTDIR)/usr/sbin/symroute-gen
	rm -rf $(DESTDIR)/usr/share/symroute $(DESTDIR)/usr/libexec/symroute
	rm -f $(DESTDIR)/etc/network/if-up.d/symroute $(DESTDIR)/etc/network/if-down.d/symroute
	rm -f $(DESTDIR)/etc/dhcp/dhclient-exit-hooks.d/symroute $(DESTDIR)/usr/lib/dhcpcd/dhcpcd-hooks/70-symroute
	for directory in ip-up ip-down ipv6-up ipv6-down; do rm -f $(DESTDIR)/etc/ppp/$$directory.d/symroute; done
	rm -f $(DESTDIR)/etc/iproute2/rt_protos.d/symroute.conf $(DESTDIR)/usr/lib/systemd/system/symroute.service
	rm -f $(DESTDIR)/usr/share/man/man8/symroute.8 $(DESTDIR)/usr/share/man/man8/symroute-gen.8
	rm -f $(DESTDIR)/usr/share/man/man5/symroute-interfaces.5
	rm -f $(DESTDIR)/usr/share/bash-completion/completions/symroute $(DESTDIR)/usr/share/bash-completion/completions/symroute-gen
	rm -f $(DESTDIR)/usr/share/zsh/vendor-completions/_symroute $(DESTDIR)/usr/share/zsh/vendor-completions/_symroute-gen
	rm -f $(DESTDIR)/usr/share/fish/vendor_completions.d/symroute.fish $(DESTDIR)/usr/share/fish/vendor_completions.d/symroute-gen.fish
