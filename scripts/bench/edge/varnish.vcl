# Varnish in front of a live origin: streaming is on by default, times to live are the origin's.
# The bench fills in @…@.
vcl 4.1;

backend origin {
    .host = "@ORIGIN_HOST@";
    .port = "@ORIGIN_PORT@";
}

sub vcl_deliver {
    set resp.http.Access-Control-Allow-Origin = "*";
}
