package middleware

import "time"

// policyList is several policies as one: another attempt is made when any of
// them asks for it, after the shortest of their pauses.
type policyList []TryPolicy

func (l policyList) Next(x *Exchange, attempts []*Attempt) (again bool, after time.Duration) {
	for _, p := range l {
		yes, pause := p.Next(x, attempts)
		if yes && (!again || pause < after) {
			again, after = true, pause
		}
	}
	return again, after
}
