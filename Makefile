# Short names for the scripts in tests/.
.PHONY: all demo test lint install uninstall
all:
	cargo build --release --locked
demo:
	sh tests/demo
test:
	sh tests/run
lint:
	sh tests/lint
# As root. DESTDIR=/some/root installs into another root.
install:
	install -D -m 755 -t $(DESTDIR)/usr/sbin target/release/symroute target/release/symroute-gen
	install -D -m 644 -t $(DESTDIR)/usr/share/symroute/templates templates/iproute2.j2 templates/article.j2 templates/hook.j2
	install -D -m 755 hooks/if-up $(DESTDIR)/etc/network/if-up.d/symroute
	install -D -m 755 hooks/if-down $(DESTDIR)/etc/network/if-down.d/symroute
	install -d -m 755 $(DESTDIR)/etc/iproute2/rt_protos.d
	echo '97 symroute' >$(DESTDIR)/etc/iproute2/rt_protos.d/symroute.conf
uninstall:
	rm -f $(DESTDIR)/usr/sbin/symroute $(DESTDIR)/usr/sbin/symroute-gen
	rm -rf $(DESTDIR)/usr/share/symroute
	rm -f $(DESTDIR)/etc/network/if-up.d/symroute $(DESTDIR)/etc/network/if-down.d/symroute
	rm -f $(DESTDIR)/etc/iproute2/rt_protos.d/symroute.conf
