# Deutsch.

weekday = { $weekday ->
    [1] Montag
    [2] Dienstag
    [3] Mittwoch
    [4] Donnerstag
    [5] Freitag
    [6] Samstag
   *[7] Sonntag
}
month = { $month ->
    [1] Januar
    [2] Februar
    [3] März
    [4] April
    [5] Mai
    [6] Juni
    [7] Juli
    [8] August
    [9] September
    [10] Oktober
    [11] November
   *[12] Dezember
}
date = { weekday }, { $day }. { month } { $year }

hours = { $hours ->
    [one] { $hours } Stunde
   *[other] { $hours } Stunden
}
minutes = { $minutes ->
    [one] { $minutes } Minute
   *[other] { $minutes } Minuten
}
duration-below-minute = weniger als eine Minute


## E-Mails

mail-greeting = Guten Tag { $recipient },
mail-footer = Diese Nachricht hat Rollcall geschrieben. Antworten darauf liest niemand.

# " um 10:03 Uhr"
mail-came = { KNOWN($came) ->
    [yes] {" "}um { $came } Uhr
   *[no] {""}
}
# ", 09:00 Uhr"
mail-due = { KNOWN($due) ->
    [yes] , { $due } Uhr
   *[no] {""}
}
# " (Frühschicht)"
mail-shift = { KNOWN($shift) ->
    [yes] {" "}({ $shift })
   *[no] {""}
}

mail-late-own =
    .subject = Sie kamen zu spät am { $date }
    .event = Sie kamen{ mail-came } am { $date }{ mail-shift }: { $late } nach der vereinbarten Zeit{ mail-due }.
    .advice = Falls das nicht stimmt, bitten Sie um eine Korrektur. Wer Sie leitet, erfährt ebenfalls davon.
mail-late-other =
    .subject = { $name } kam zu spät am { $date }
    .event = { $name } ({ $number }) kam{ mail-came } am { $date }{ mail-shift }: { $late } nach der vereinbarten Zeit{ mail-due }.
    .advice = Falls das nicht stimmt, kann um eine Korrektur gebeten werden.

mail-absence-own =
    .subject = Ihre Abwesenheit am { $date }
    .event = am { $date }{ mail-shift } wurde Ihre Anwesenheit nicht erfasst, oder so kurz, dass der Tag nicht zählt.
    .advice = Falls Sie da waren, bitten Sie um eine Korrektur. Waren Sie krank oder im Urlaub, lassen Sie es bitte eintragen.
mail-absence-other =
    .subject = { $name }: abwesend am { $date }
    .event = am { $date }{ mail-shift } wurde die Anwesenheit von { $name } ({ $number }) nicht erfasst, oder so kurz, dass der Tag nicht zählt.
    .advice = Falls das nicht stimmt, kann um eine Korrektur gebeten werden; Krankheit und Urlaub lassen sich noch eintragen.

mail-missing_out-own =
    .subject = Gehzeit fehlt am { $date }
    .event = am { $date }{ mail-shift } kamen Sie{ mail-came }, aber das Gehen wurde nicht erfasst. Ohne diese Zeit lassen sich die Stunden nicht vollständig zählen.
    .advice = Bitten Sie um eine Korrektur mit der Zeit, zu der Sie gegangen sind.
mail-missing_out-other =
    .subject = { $name }: Gehzeit fehlt am { $date }
    .event = am { $date }{ mail-shift } kam { $name } ({ $number }){ mail-came }, aber das Gehen wurde nicht erfasst. Ohne diese Zeit lassen sich die Stunden nicht vollständig zählen.
    .advice = Eine Korrektur mit der Zeit des Gehens behebt es.
