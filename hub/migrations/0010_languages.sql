-- Messages are written in English and German. People of any other language have had theirs in English.
update people set language = 'en' where language not in ('en', 'de');
