# shellcheck shell=bash
# A Kerberos realm and a remctld for the world, in the files that the distribution has them in. Only for use inside the
# world: it writes to /etc and /var, which are the world's own there.

REALM=EXAMPLE.ORG
PEOPLE=(alice bob carol mallory)

free_port() {
	perl -MIO::Socket::INET -e \
		'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0, Listen => 1)->sockport'
}

write_realm() {
	local port=$1
	cat >/etc/krb5.conf <<-EOF
		[libdefaults]
		default_realm = $REALM
		dns_lookup_kdc = false
		dns_lookup_realm = false
		dns_canonicalize_hostname = false
		rdns = false
		udp_preference_limit = 1
		ignore_acceptor_hostname = true
		[realms]
		$REALM = {
		  kdc = 127.0.0.1:$port
		  pkinit_anchors = FILE:$WORLD/realm/kdc.crt
		  pkinit_eku_checking = kpServerAuth
		  pkinit_kdc_hostname = localhost
		}
		[domain_realm]
		localhost = $REALM
	EOF
	mkdir -p /etc/krb5kdc
	cat >/etc/krb5kdc/kdc.conf <<-EOF
		[kdcdefaults]
		kdc_listen = ""
		kdc_tcp_listen = 127.0.0.1:$port
		[realms]
		$REALM = {
		  database_name = $WORLD/realm/principal
		  key_stash_file = $WORLD/realm/stash
		  supported_enctypes = aes256-cts-hmac-sha1-96:normal
		  pkinit_identity = FILE:$WORLD/realm/kdc.crt,$WORLD/realm/kdc.key
		  pkinit_anchors = FILE:$WORLD/realm/kdc.crt
		}
	EOF
}

# With a certificate of its own the KDC can give tickets to the anonymous principal: 'kinit -n'.
certify_kdc() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
		-addext extendedKeyUsage=serverAuth -addext keyUsage=digitalSignature,keyCertSign \
		-keyout "$WORLD/realm/kdc.key" -out "$WORLD/realm/kdc.crt" 2>/dev/null
}

fill_realm() {
	local name
	certify_kdc
	kdb5_util create -s -r "$REALM" -P world >/dev/null 2>&1
	{
		for name in "${PEOPLE[@]}"; do
			printf 'addprinc -clearpolicy -randkey %s\nktadd -norandkey -k %s/keytabs/%s %s\n' "$name" "$WORLD" "$name" "$name"
		done
		printf 'addprinc -clearpolicy -randkey WELLKNOWN/ANONYMOUS\n'
		printf 'addprinc -clearpolicy -randkey host/localhost\nktadd -norandkey -k /etc/krb5.keytab host/localhost\n'
		printf 'addprinc -clearpolicy -randkey HTTP/localhost\nktadd -norandkey -k /etc/invirtibuilder/http.keytab HTTP/localhost\n'
	} | kadmin.local -p "root/admin@$REALM" >/dev/null
	chown "$SERVICE:" /etc/invirtibuilder/http.keytab
}

start_kdc() {
	local try port
	mkdir -p "$WORLD/realm" "$WORLD/keytabs" "$WORLD/tickets"
	for try in 1 2 3 4 5; do
		port=$(free_port)
		write_realm "$port"
		[ "$try" != 1 ] || fill_realm
		krb5kdc -r "$REALM" -n >"$WORLD/log/krb5kdc" 2>&1 &
		if await 5 listens "$port" && kill -0 $! 2>/dev/null; then return 0; fi
	done
	die "the KDC does not start: $(tail -n 3 "$WORLD/log/krb5kdc")"
}

listens() { (: </dev/tcp/127.0.0.1/"$1") 2>/dev/null; }

get_tickets() {
	local name
	for name in "${PEOPLE[@]}"; do
		kinit -k -t "$WORLD/keytabs/$name" -c "$WORLD/tickets/$name" -l 7d "$name"
	done
}

start_remctld() {
	mkdir -p "$WORLD/rcache"
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin KRB5RCACHEDIR="$WORLD/rcache" \
		"$ROOT/script/lib/listen" "$WORLD/remctl-port" \
		remctld -m -F -S -f /etc/remctl/remctl.conf -k /etc/krb5.keytab -s host/localhost \
		>"$WORLD/log/remctld" 2>&1 &
	await 10 test -s "$WORLD/remctl-port" || die "remctld does not start: $(cat "$WORLD/log/remctld")"
}
