"""Settings that are wrong, each after a route on lines 1 and 2, and what is said of them."""

from __future__ import annotations

DURATION = 'a duration is a number with a unit, like "200ms", "10s", "5m", "1h 30m" or "7d"'

BAD: dict[str, tuple[str, str]] = {
    "an unknown key": ("[mqtt]\nprot = 1884\n", '4: mqtt.prot: no such key (did you mean "port"?)'),
    "an unknown section": ("[mqt]\nport = 1\n", '3: mqt: no such key (did you mean "mqtt"?)'),
    "nothing like it": ("[mqtt]\nxyz = 1\n", "4: mqtt.xyz: no such key"),
    "a deep key": (
        "[kafka.topics.readings]\npartition = 3\n",
        '4: kafka.topics.readings.partition: no such key (did you mean "partitions"?)',
    ),
    "a dotted key": (
        "[kafka]\ntopics.readings.partitions = 0\n",
        "4: kafka.topics.readings.partitions: should be greater than or equal to 1",
    ),
    "a quoted key": (
        '[mqtt]\n"port" = "x"\n',
        "4: mqtt.port: should be a valid integer, unable to parse string as an integer",
    ),
    "a key after a comment": (
        "# mqtt\n[mqtt] # broker\n# port = 1\nport = 70_000\n",
        "6: mqtt.port: should be less than or equal to 65535",
    ),
    "a table for a value": ("[mqtt.port]\nx = 1\n", "3: mqtt.port: should be a valid integer"),
    "a value for a table": (
        '[kafka]\ntls = "yes"\n',
        "4: kafka.tls: should be a valid dictionary or instance of TlsSettings",
    ),
    "a duration without a unit": ("[gateway]\nlinger = 200\n", f"4: gateway.linger: {DURATION}"),
    "a duration with a wrong unit": ('[gateway]\nlinger = "2 fortnights"\n', f"4: gateway.linger: {DURATION}"),
    "a negative duration": ('[gateway]\nlinger = "-2s"\n', f"4: gateway.linger: {DURATION}"),
    "an age": (
        "[mqtt]\nsession_expiry = '" + "9" * 400 + "w'\n",
        "4: mqtt.session_expiry: a duration is at most 36500d",
    ),
    "nearly a choice": (
        '[mqtt]\nprotocol = "3.1.l"\n',
        "4: mqtt.protocol: should be 'auto', '5' or '3.1.1' (did you mean \"3.1.1\"?)",
    ),
    "a choice": ('[mqtt]\nprotocol = "4"\n', "4: mqtt.protocol: should be 'auto', '5' or '3.1.1'"),
    "a label": (
        '[plant]\nlevels = ["Site"]\n',
        "4: plant.levels: 'Site' cannot be a label: lower case letters, digits and _ only",
    ),
    "a reserved label": (
        '[plant]\nlevels = ["le"]\n',
        "4: plant.levels: 'le' is a label that Millstream or Prometheus sets",
    ),
    "a label twice": ('[plant]\nlevels = ["a", "a"]\n', "4: plant.levels: a level is named twice"),
    "no brokers": (
        "[kafka]\nbootstrap = []\n",
        "4: kafka.bootstrap: List should have at least 1 item after validation, not 0",
    ),
    "replicas": (
        "[kafka.topics.alerts]\nmin_insync_replicas = 2\n",
        "3: kafka.topics.alerts: min_insync_replicas is larger than replication: nothing could ever be written",
    ),
    "a wildcard": (
        '[[route]]\ntopic = "g/+"\n',
        "4: route.2.topic: write {name} or {name...} instead of the wildcard '+'",
    ),
    "a name that is not there": ('path = "{b}"\n', "3: route.1.path: path uses {b}, which the topic does not have"),
    "QoS 2": ("qos = 2\n", "3: route.1.qos: should be 0 or 1"),
    "a decoder": (
        'decoder = "jsn"\n',
        "3: route.1.decoder: no decoder is called 'jsn' (did you mean \"json\"?); there are: json, plain",
    ),
    "a decoder's option": (
        'options = { valeu = "x" }\n',
        "3: route.1.options: decoder json: no option 'valeu' (did you mean \"value\"?)",
    ),
    "a decoder's inner part": (
        "options = { _rows = 1 }\n",
        "3: route.1.options: decoder json: no option '_rows' (did you mean \"rows\"?)",
    ),
    "an option's value": (
        'options = { time_unit = "hours" }\n',
        "3: route.1.options: decoder json: time_unit: should be 'auto', 's', 'ms', 'us', 'ns' or 'iso'",
    ),
    "options that fight": (
        'options = { time = "value" }\n',
        "3: route.1.options: decoder json: options: value, time and quality (and unit, rate_hz, name) must be "
        "different fields",
    ),
    "no values": (
        "options = { values = [] }\n",
        '3: route.1.options: decoder json: options: values: name at least one field, or ["*"] for all',
    ),
    "fields without a place in the path": (
        'options = { values = ["*"] }\n',
        "1: route.1: the payload has several values: set a `path` with {field} or {id} in it",
    ),
    "a place in the path without fields": (
        'path = "{machine}/{field}"\n',
        "1: route.1: path has {field} or {id}, but this decoder, with these options, names no fields",
    ),
    "a class without a name": ('[[class]]\nmatch = ["**"]\n', "3: class.1.name: is missing"),
    "a class twice": ('[[class]]\nname = "a"\nmatch = ["**"]\n' * 2, "3: class: two classes are called 'a'"),
    "a class called default": (
        '[[class]]\nname = "default"\nmatch = ["a"]\n',
        '3: class: the class called "default" takes what no other class matches: its match is ["**"]',
    ),
    "a model": (
        '[[class]]\nname = "a"\nmatch = ["**"]\nmodels = ["ewma"]\n',
        (
            "6: class.1.models.1.name: no model is called 'ewma' (did you mean \"ewma_z\"?); there are: "
            "ewma_z, running_range"
        ),
    ),
    "models of words": (
        '[[class]]\nname = "a"\nmatch = ["**"]\nkind = "text"\nmodels = ["ewma_z"]\n',
        "3: class.1: models need numbers, and this class is of kind text",
    ),
    "a range": (
        '[[class]]\nname = "a"\nmatch = ["**"]\nrange = [2, 1]\n',
        "6: class.1.range: the first number must be less than the second",
    ),
    "a short window": (
        '[[class]]\nname = "a"\nmatch = ["**"]\nwindows = ["1m", "10ms"]\n',
        "6: class.1.windows: a window is between 1s and 7d",
    ),
    "a shown window that there is not": (
        '[[class]]\nname = "a"\nmatch = ["**"]\nwindows = ["1m"]\nshown_windows = ["5m"]\n',
        "7: class.1.shown_windows: 5m is not among the class's windows, which are 1m",
    ),
    "a second class": (
        '[[class]]\nname = "a"\nmatch = ["x"]\n\n[[class]]\nname = "b"\nmatch = []\n',
        "9: class.2.match: List should have at least 1 item after validation, not 0",
    ),
    "a rule's limits": (
        '[[class]]\nname = "a"\nmatch = ["**"]\n[[class.rules]]\nname = "r"\nabove = 1\nbelow = 2\n',
        "6: class.1.rules.1: a rule has exactly one of `above` and `below`",
    ),
    "a rule's key": (
        '[[class]]\nname = "a"\nmatch = ["**"]\n[[class.rules]]\nname = "r"\nabov = 1\nbelow = 2\n',
        '8: class.1.rules.1.abov: no such key (did you mean "above"?)',
    ),
    "a number as a secret": ("[mqtt]\npassword = 12345\n", "4: mqtt.password: should be a valid string"),
}
